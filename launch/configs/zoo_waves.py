"""Two SIRENs 1-32-32-1 of each of 1,000 sine waves (Navon et al. 2024, Deep-Align).

python launch/make_zoo.py --config=launch/configs/zoo_waves.py --out=waves.zoo

Their waves are `sin(a x)` with `a` uniform in [0.5, 10] and two networks each (arXiv
2310.13397). They publish no recipe; size, interval and frequency factors are those of
their earlier waves (arXiv 2301.12780): `x` from -pi to pi and `w0 = 30`. Here a network
reads `x / pi`, hence the larger factor of the first layer, and draws
`(1 + sin(a x)) / 2`, which lies in [0, 1] as the pixels of images do. The label of a
network is the whole part of `a`, 0 to 9.

Time: 20 seconds on 2 CPU cores. Median PSNR: 60 dB. Up to 10,000 waves with
`--config.data.num_images`; `zoo_waves.py:smoke` fits 8 in seconds.
"""

import math

from experiments import harness
from experiments.populations import make_zoo

NUM_WAVES = {"default": 1000, "smoke": 8}


@harness.variants(*NUM_WAVES)
def get_config(variant: str):
    config = make_zoo.default_config()
    config.data.source = "waves"
    config.data.num_images = NUM_WAVES[variant]
    config.fits_per_image = 2
    config.architecture.first_w0 = 30 * math.pi
    config.fit.num_steps = 5 if variant == "smoke" else 300
    config.fit.stride = 2
    config.fit.output_ridge = 1e-4
    return config
