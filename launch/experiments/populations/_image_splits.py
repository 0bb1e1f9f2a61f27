"""Images of a config for classifiers: those to train on and those to test on."""

from typing import Any

import numpy as np
from ml_collections import config_dict

from experiments import harness
from experiments.populations import _population
from symmerge_jax import networks, zoo


def classifier_task(
    config: harness.Config,
    network: networks.Network,
    *,
    num_train: int | None = None,
    num_test: int | None = None,
) -> _population.Task:
    """Return images as classifiers read them, with their classes.

    Args:
      config: as for `load_splits`.
      network: architecture of the classifiers.
      num_train: number of training images, the first ones; None for all.
      num_test: number of test images.

    Raises:
      ValueError: as `load_splits`; images or classes that the networks do not have, or
        counts out of range.
    """
    examples = []
    counts = {"num_train": num_train, "num_test": num_test}
    splits = load_splits(config)
    for (key, count), found in zip(counts.items(), splits, strict=True):
        inputs = networks.classifier_inputs(found.images, network.input_shape)
        zoo.check_data(network, inputs, found.labels, found.name)
        if count is not None and not 1 <= count <= len(inputs):
            raise ValueError(
                f"{key} must lie in 1..{len(inputs)}, the images of {found.name}, got"
                f" {count}."
            )
        examples.append(_population.Examples(inputs[:count], found.labels[:count]))
    return _population.Task(*examples)


def data_keys() -> dict[str, Any]:
    """Return the keys of `config.data` that `load_splits` reads, with defaults."""
    return {
        "source": "digits",
        "dir": config_dict.placeholder(str),
        "num_images": config_dict.placeholder(int),
        "test_fraction": 0.2,
    }


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
    if source in zoo.SPLIT_SOURCES and not split:
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
            f"{len(order)} images are too few for config.data.test_fraction ="
            f" {config.data.test_fraction}: one part is empty."
        )
    train, test = (
        zoo.ImageSet(found.images[rows], found.labels[rows], f"{name}/{part}")
        for part, rows in parts.items()
    )
    return train, test
