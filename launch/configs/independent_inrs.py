r"""Interpolate between INRs that were fitted to one image independently.

python launch/train.py --config=launch/configs/independent_inrs.py \
    --config.canonicalizer=runs/mnist_inr_cpu

The honest version of `orbit_interpolation.py`: two networks with the same task are no
twins. 128 held-out images of the autoencoder run, 4 fits of each from other random
starts (the recipe of the run's own networks), paired by a cyclic shift; the same
methods. `independent_inrs.py:smoke` makes its own tiny autoencoder.
"""

from configs import orbit_interpolation
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
        config = orbit_interpolation.shorten(config)
        config.num_members = 2
    return config
