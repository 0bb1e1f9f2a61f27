"""The main job on data that needs no download: SIRENs of scikit-learn's digits.

python launch/train.py

Makes SIRENs 2-32-32-1 of the 8 x 8 digits, then trains a ScaleGMN autoencoder that
canonicalises them (Boufalis et al. 2025, arXiv 2511.12601): from the weights alone,
with linear messages, on images that are turned, scaled and moved in every step.

`digits_inr.py:probes` also reads the outputs of the networks at 64 learned points, with
the published messages: quicker to learn, but then the points do the work.
"""

from experiments import harness
from experiments.train import autoencode


@harness.variants("default", "probes")
def get_config(variant: str):
    config = autoencode.default_config()
    config.encoder.width = 32
    config.encoder.latent_size = 64
    config.batch_size = 32
    if variant == "probes":
        config.encoder.num_probes = 64
        config.num_steps = 600
        config.num_microbatches = 4
        return config
    config.fits_per_image = 4
    config.encoder.num_probes = 0
    config.encoder.messages = "linear"
    config.distort.update(rotation=9.0, scale=0.09, shift=0.09)
    config.num_steps = 7600
    config.evaluate_every = config.checkpoint_every = 1900
    return config
