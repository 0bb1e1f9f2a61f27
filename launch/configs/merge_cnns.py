r"""Pairs of CNN classifiers from a zoo, brought together by every method.

python launch/make_zoo.py --config=launch/configs/zoo_cnn.py:mnist_relu --out=relu.zoo
python launch/train.py --config=launch/configs/cnn_autoencoder.py:mnist_relu \
    --config.zoo=relu.zoo --workdir=runs/cnn_relu
python launch/train.py --config=launch/configs/merge_cnns.py \
    --config.zoo=relu.zoo --config.canonicalizer=runs/cnn_relu

The CNN experiment of Boufalis et al. 2025 (arXiv 2511.12601): 20 random disjoint pairs
among the best third of the 180 networks that the autoencoder holds out, 21 points,
accuracy and cross-entropy on 2,000 test images. Variants: `:single` (one random pair),
`:crowd` (means of 2 to 10 networks), `:smoke` (needs a zoo of digits). The images are
those that the zoo was trained on, here MNIST, read from $SYMMERGE_DATA_DIR or
downloaded; else set config.data. Without a canonicalizer its methods are omitted. Some
minutes on 2 quiet CPU cores.
"""

import os

from experiments import harness
from experiments.compare import merge_cnns


@harness.variants("default", "single", "crowd", "smoke")
def get_config(variant: str):
    config = merge_cnns.default_config()
    config.data.source = "mnist"
    config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
    config.data.num_train = config.data.num_test = 2000
    config.num_repair_images = 500
    config.split.val_fraction, config.split.test_fraction = 0.05, 0.15
    config.num_best = 60
    if variant == "single":
        config.num_pairs = 1
        config.num_points = 41
    if variant == "crowd":
        config.num_pairs = 0
        config.crowd.sizes = tuple(range(2, 11))
    if variant == "smoke":
        config.data.source, config.data.dir = "digits", None
        config.data.num_train, config.data.num_test = 50, None
        config.num_best = None
        config.num_pairs = 2
        config.num_points = 3
        config.num_random_starts = 1
        config.num_repair_images = 20
        config.crowd.sizes = (2, 3)
        config.crowd.num_crowds = 2
    return config
