"""10,000 SIRENs 2-32-32-1 of MNIST, like those of Navon et al. 2023 (arXiv 2301.12780).

python launch/make_zoo.py --config=launch/configs/zoo_mnist.py --out=mnist.zoo

The images are read from $SYMMERGE_DATA_DIR/mnist or --config.data.dir=FOLDER, or
are downloaded if neither is set. Time: 40 seconds on 2 idle CPU cores. Mean PSNR: 24.7
dB; `--config.fit.num_steps=300` takes twice as long for 26.7 dB, 600 steps give 29.0.
`zoo_mnist.py:all` fits the 60,000 training and the 10,000 test images,
`zoo_mnist.py:smoke` 8 in seconds.
"""

import os

from experiments import harness
from experiments.populations import make_zoo

NUM_IMAGES = {"default": 10_000, "all": 70_000, "smoke": 8}


@harness.variants(*NUM_IMAGES)
def get_config(variant: str):
    config = make_zoo.default_config()
    config.data.source = "mnist"
    config.data.split = "all" if variant == "all" else "train"
    config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
    config.data.num_images = NUM_IMAGES[variant]
    config.fit.num_steps = 5 if variant == "smoke" else 150
    config.fit.stride = 2
    config.fit.output_ridge = 1e-4
    return config
