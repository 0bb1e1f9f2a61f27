"""64 small INRs of digits, 6 steps, every part of the main job; mostly compilation.

python launch/train.py --config=launch/configs/smoke.py --workdir=runs/smoke
"""

from experiments.train import autoencode


def get_config():
    config = autoencode.default_config()
    config.data.num_images = 64
    config.architecture.hidden_sizes = (8, 8)
    config.fit.num_steps = 10
    config.encoder.width = 8
    config.encoder.num_layers = 1
    config.encoder.num_probes = 16
    config.decoder.hidden_multipliers = (2,)
    config.distort.shift = 0.1
    config.val_fraction = 0.2
    config.test_fraction = 0.2
    config.num_steps = 6
    config.warmup_steps = 2
    config.batch_size = 8
    config.log_every = 1
    config.evaluate_every = 3
    config.checkpoint_every = 3
    config.num_orbits = 2
    config.num_twins = 4
    return config
