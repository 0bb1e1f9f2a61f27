"""The main job on data that needs no download: SIRENs of scikit-learn's digits.

python launch/train.py

Makes 1,797 SIRENs 2-32-32-1, one for each 8 x 8 digit, then trains a ScaleGMN
autoencoder that canonicalises them (Boufalis et al. 2025, arXiv 2511.12601).
"""

from experiments.train import autoencode


def get_config():
    config = autoencode.default_config()
    config.encoder.width = 32
    config.encoder.latent_size = 64
    config.encoder.num_probes = 64
    config.num_steps = 600
    config.batch_size = 32
    config.num_microbatches = 4
    return config
