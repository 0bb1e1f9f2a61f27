"""Images of a config for classifiers: those to train on and those to test on."""

import numpy as np

from experiments import harness
from symmerge_jax import zoo


def load_splits(config: harness.Config) -> tuple[zoo.ImageSet, zoo.ImageSet]:
    """Return images to train on and to test on.

    Args:
      config: `data.source` and `data.dir` as `zoo.load_images` takes them;
        `data.num_images`, of training where there is a test split, else in all; without
        a test split `data.test_fraction` of the images are put aside, drawn with
        `seed`. A source `NAME/SPLIT` is that split alone, divided likewise.

    Returns:
      Train, test.

    Raises:
      ValueError: an unknown source, or a fraction that leaves a part empty.
      FileNotFoundError: missing images.
    """
    name, folder, count = (config.data[k] for k in ("source", "dir", "num_images"))
    source, _, split = name.partition("/")
    if source in zoo.WITH_SPLITS and not split:
        train = zoo.load_images(source, "train", folder, num_images=count)
        return train, zoo.load_images(source, "test", folder)
    if not 0 < config.data.test_fraction < 1:
        raise ValueError(
            "config.data.test_fraction must lie in (0, 1), got"
            f" {config.data.test_fraction}."
        )
    found = zoo.load_images(source, split or "all", folder, num_images=count)
    generator = np.random.Generator(np.random.PCG64(config.seed))
    order = generator.permutation(len(found.labels))
    num_test = round(config.data.test_fraction * len(order))
    parts = {"train": order[num_test:], "test": order[:num_test]}
    if not all(len(rows) for rows in parts.values()):
        raise ValueError(
            f"{len(order)} images cannot be split by config.data.test_fraction ="
            f" {config.data.test_fraction}: one part is empty."
        )
    train, test = (
        zoo.ImageSet(found.images[rows], found.labels[rows], f"{name}/{part}")
        for part, rows in parts.items()
    )
    return train, test
