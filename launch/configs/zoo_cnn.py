"""CNN classifiers like those of the Small CNN Zoo (Unterthiner et al. 2020).

python launch/make_zoo.py --config=launch/configs/zoo_cnn.py:mnist_relu --out=relu.zoo

Every network draws its own learning rate, scale of initialisation, L2 penalty and part
of the images. Variants: `digits_relu` (default), `digits_tanh`: 1,000 networks of
scikit-learn's 8 x 8 digits, a minute on 2 CPU cores; `mnist_relu`, `mnist_tanh`: 1,200
of MNIST, median accuracy 92 and 87 %, 10 minutes; `cifar10_relu`, `cifar10_tanh`: 5,000
of CIFAR-10 in grey, meant for a GPU; `smoke`: 4 networks in seconds. MNIST and CIFAR-10
are read from $SYMMERGE_DATA_DIR or --config.data.dir=FOLDER, or are downloaded if
neither is set.
"""

import os

from experiments import harness
from experiments.populations import make_classifier_zoo

SIZES = {"digits": (1000, 500), "mnist": (1200, 1000), "cifar10": (5000, 4000)}
VARIANTS = tuple(f"{source}_{kind}" for source in SIZES for kind in ("relu", "tanh"))


@harness.variants(*VARIANTS, "smoke")
def get_config(variant: str):
    config = make_classifier_zoo.default_config()
    if variant == "smoke":
        config.num_networks = 4
        config.training.num_steps = 5
        return config
    source, _, activation = variant.partition("_")
    config.data.source = source
    config.architecture.activation = activation
    config.num_networks, config.training.num_steps = SIZES[source]
    if source != "digits":
        config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
        config.architecture.channels = (16, 16, 16)
    return config
