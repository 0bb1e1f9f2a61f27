"""Pairs of CNN classifiers from a zoo, brought together by every method.

python launch/make_zoo.py --config=launch/configs/zoo_cnn.py:mnist_relu --out=relu.zoo
python launch/train.py --config=launch/configs/merge_cnns.py --config.zoo=relu.zoo \
    --config.canonicalizer=runs/relu

The CNN experiment of Boufalis et al. 2025 (arXiv 2511.12601): 20 random disjoint pairs
among the best held-out networks, 21 points, accuracy and cross-entropy on 10,000 test
images. Variants: `:single` (one random pair), `:crowd` (means of 2 to 10 networks),
`:smoke`. The images are those that the zoo was trained on: of MNIST by default, read
from $SYMMERGE_DATA_DIR or downloaded; else --config.data.source=digits|cifar10. Without
a canonicalizer its methods are left out. Minutes on 2 CPU cores.
"""

import os

from symmerge_jax.experiments import merge_cnns

VARIANTS = ("default", "single", "crowd", "smoke")


def get_config(variant: str = "default"):
    if variant not in VARIANTS:
        raise ValueError(f"Variants are {VARIANTS}, not {variant!r}.")
    config = merge_cnns.default_config()
    config.data.source = "mnist"
    config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
    config.data.num_train = 5000
    if variant == "single":
        config.num_pairs = 1
        config.num_points = 41
    if variant == "crowd":
        config.num_pairs = 0
        config.crowd.sizes = tuple(range(2, 11))
    if variant == "smoke":
        config.data.source = "digits"
        config.data.num_train = 50
        config.num_pairs = 2
        config.num_points = 3
        config.num_random_starts = 1
        config.num_repair_images = 20
        config.crowd.sizes = (2, 3)
        config.crowd.num_crowds = 2
    return config
