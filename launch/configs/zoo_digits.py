"""1,797 SIRENs 2-32-32-1 of the 8 x 8 digits that scikit-learn ships.

python launch/make_zoo.py --config=launch/configs/zoo_digits.py --out=digits.zoo

Time: 5 seconds on 2 CPU cores. Mean PSNR: 53 dB (40 steps fit 64 pixels closely).
`zoo_digits.py:smoke` makes 8 networks in seconds.
"""

from experiments import harness
from experiments.populations import make_zoo


@harness.variants("full", "smoke")
def get_config(variant: str):
    config = make_zoo.default_config()
    if variant == "smoke":
        config.data.num_images = 8
        config.fit.num_steps = 5
    return config
