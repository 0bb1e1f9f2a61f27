"""Interpolate between INRs that were fitted to one image independently.

python launch/train.py --config=launch/configs/independent_inrs.py \
    --config.canonicalizer=runs/mnist_inr_cpu

The honest version of `orbit_interpolation.py`: two networks with the same task are no
twins. 128 held-out images of the autoencoder run, 4 fits of each from other random
starts (the recipe of the run's own networks), paired by a cyclic shift; the same
methods. `independent_inrs.py:smoke` makes its own tiny autoencoder.
"""

from experiments import harness
from experiments.compare import interpolate


@harness.variants("default", "smoke")
def get_config(variant: str):
    config = interpolate.default_config()
    config.families = ("fits",)
    config.sigmas = (0.0,)
    config.num_networks = 128
    config.num_members = 4
    if variant == "smoke":
        config.num_networks = 3
        config.num_members = 2
        config.num_points = 5
        config.num_random_starts = 1
        config.chunk_size = 8
        autoencoder = config.autoencoder
        autoencoder.data.num_images = 32
        autoencoder.architecture.hidden_sizes = (6, 5)
        autoencoder.fit.num_steps = 10
        autoencoder.encoder.kind = "probe"
        autoencoder.encoder.num_probes = 16
        autoencoder.val_fraction = 0.2
        autoencoder.test_fraction = 0.2
        autoencoder.num_steps = 4
        autoencoder.warmup_steps = 1
        autoencoder.batch_size = 8
        autoencoder.evaluate_every = 2
        autoencoder.checkpoint_every = 2
    return config
