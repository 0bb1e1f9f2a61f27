"""MLP classifiers of one architecture, trained apart (Navon et al. 2024, Deep-Align).

python launch/make_zoo.py --config=launch/configs/zoo_mlp.py:mnist --out=mlps.zoo

The networks that their section 5 aligns (arXiv 2310.13397); they publish no recipe.
Here the networks differ in initialisation and in the order of the images. To let each
draw hyper-parameters, as those of the Small CNN Zoo do, give ranges:

    --config.training.learning_rate="(5e-4,2e-2)" --config.training.init_scale="(.5,2)"

Variants, on 2 CPU cores: `digits` (default), 500 networks 64-64-64-10 of scikit-learn's
8 x 8 digits, median accuracy 98 %, half a minute; `mnist`, 1,000 networks
784-128-128-128-10, 97.5 %, 15 minutes and 540 MB; `fashion`, 1,000 of the same size,
84 %, 8 minutes, of 8,000 of the 10,000 test images of Fashion-MNIST, as the training
images are not always at hand (with them: `--config.data.source=fashion_mnist`);
`smoke`: 4 networks in seconds. The images are read from $SYMMERGE_DATA_DIR or
--config.data.dir=FOLDER, or are downloaded if neither is set.
"""

import os

from experiments import harness
from experiments.populations import make_classifier_zoo

SOURCES = {"digits": "digits", "mnist": "mnist", "fashion": "fashion_mnist/test"}
NUM_STEPS = {"digits": 500, "mnist": 2350, "fashion": 1000}


@harness.variants(*SOURCES, "smoke")
def get_config(variant: str):
    config = make_classifier_zoo.default_config("mlp")
    config.num_networks, config.chunk_size = 500, 25
    # One value for all, but for the seed.
    config.training.learning_rate = (3e-3, 3e-3)
    config.training.init_scale = (0.7, 0.7)
    config.training.l2reg = (1e-8, 1e-8)
    config.training.train_fractions = (1.0,)
    if variant == "smoke":
        config.num_networks, config.training.num_steps = 4, 5
        return config
    config.data.source = SOURCES[variant]
    config.training.num_steps = NUM_STEPS[variant]
    if variant != "digits":
        config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
        config.num_networks, config.chunk_size = 1000, 20
        config.architecture.hidden_sizes = (128, 128, 128)
        config.training.batch_size = 128
    return config
