"""Make a zoo of image classifiers from a config."""

import math
import os
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.populations import _image_splits, _population
from symmerge_jax import zoo

_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "cnn": {
        "channels": (16, 16),
        "activation": "relu",
        "kernel_size": 3,
        "stride": 2,
        "readout": "mean",
    },
    "mlp": {
        "kind": "mlp",
        "hidden_sizes": (64, 64),
        "activation": "relu",
        "use_bias": True,
    },
}


def default_config(kind: str = "cnn") -> harness.Config:
    """Return every key that exists, with the values of the digits zoo.

    `architecture` are arguments of `networks.cnn` or `networks.mlp` that the images do
    not decide: `hidden_sizes` are `layer_sizes` without input and output. `training`
    are the fields of `zoo.ZooOptions`; the others those of
    `zoo.generate_classifier_zoo` and of `_image_splits.load_splits`.

    Args:
      kind: "cnn", or "mlp", whose configs say so in `architecture.kind`.
    """
    return ConfigDict(
        {
            "experiment": "make_classifier_zoo",
            "seed": 0,
            "num_networks": 200,
            "chunk_size": 32,
            "data": _image_splits.data_keys(),
            "architecture": _ARCHITECTURES[kind],
            "training": {
                "num_steps": 500,
                "batch_size": 64,
                "keep_steps": (),
                "learning_rate": (5e-4, 2e-2),
                "decay": True,
                "init_scale": (0.5, 2.0),
                "l2reg": (1e-8, 1e-3),
                "train_fractions": (0.1, 0.25, 0.5, 1.0),
                "num_train_eval": 2000,
            },
        }
    )


def complete_config(config: harness.Config) -> harness.Config:
    """Return a config with the defaults of its kind of network, checked."""
    kind = config.get("architecture", {}).get("kind")
    if kind not in (None, "mlp"):
        raise ValueError(
            "config.architecture.kind must be 'mlp', or omitted for CNNs, got"
            f" {kind!r}."
        )
    return harness.check_config(config, default_config(kind or "cnn"))


def run(config: harness.Config, out: str | os.PathLike) -> zoo.Zoo:
    """Make the zoo of a config in a file, or open it if it is there.

    An interrupted run resumes from its parts in `OUT.parts`.

    Args:
      config: keys of `default_config`.
      out: the zoo file.

    Raises:
      ValueError: an unknown key, a value that does not fit, or a file with another zoo.
      FileNotFoundError: missing images.
    """
    train, test, arguments = read_config(config)
    chunk_size = config.chunk_size
    with harness.network_progress("train classifiers") as show:
        return zoo.load_or_train_classifiers(
            out, train, test, chunk_size=chunk_size, on_chunk=show, **arguments
        )


def plan(config: harness.Config) -> zoo.Zoo:
    """Return the zoo that `run` would make if none diverges; its weights are zeros."""
    train, test, arguments = read_config(config)
    recipe = zoo.classifier_recipe(train, test, **arguments)
    num_kept = len(arguments["options"].keep_steps) + 1
    image_index = np.repeat(np.arange(arguments["num_networks"]), num_kept)
    return zoo.create(
        recipe["architecture"],
        _population.planned_params(recipe["architecture"], len(image_index)),
        image_index=image_index,
        subsets=(train.name,),
    )


def describes(classifiers: zoo.Zoo) -> dict[str, Any]:
    """Return what a zoo tells of itself, by key of `default_config`.

    An imported zoo tells its architecture, not how its networks were trained.
    """
    made = classifiers.provenance
    groups, recorded = {"architecture": classifiers.architecture}, {}
    if made.get("made_by") == "generate_classifier_zoo":
        recorded["num_networks"] = made["num_networks"]
        groups["training"] = made["options"]
    return recorded | {
        f"{group}.{name}": tuple(value) if isinstance(value, list) else value
        for group, values in groups.items()
        for name, value in values.items()
    }


def read_config(
    config: harness.Config,
) -> tuple[zoo.ImageSet, zoo.ImageSet, dict[str, Any]]:
    """Return images to train and test on, and arguments of `zoo.classifier_recipe`."""
    config = complete_config(config)
    train, test = _image_splits.load_splits(config)
    num_classes = int(max(train.labels.max(), test.labels.max())) + 1
    size, architecture = train.images.shape[1:], config.architecture.to_dict()
    if architecture.get("kind") == "mlp":
        sizes = [math.prod(size), *architecture.pop("hidden_sizes"), num_classes]
        architecture["layer_sizes"] = sizes
    else:
        shape = {"image_shape": [*size, 1], "num_classes": num_classes}
        architecture = {"kind": "cnn", **shape, **architecture}
    arguments = {
        "num_networks": config.num_networks,
        "seed": config.seed,
        "architecture": architecture,
        "options": zoo.ZooOptions(**config.training.to_dict()),
    }
    return train, test, arguments
