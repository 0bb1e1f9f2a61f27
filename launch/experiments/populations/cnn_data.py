"""What the merging of CNNs starts from: the best held-out networks, and images."""

import pathlib
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.populations import _image_splits, _population
from symmerge_jax import autoencoders, merging, networks, zoo
from symmerge_jax.typing import Params

UNLABELLED = ("given", "smooth")
"""Values of `config.data.unlabelled`."""


class CnnData(NamedTuple):
    """Networks of one architecture that no autoencoder was trained on, and images.

    Attributes:
      network: their architecture.
      params: stacked parameters `[N, ...]`, the best network first.
      number: `[N]` number of each network in the zoo.
      task: images in [-1, 1] with their classes. Methods may see the training ones, or
        as many of noise; all are measured on the others.
      canonicalizer: trained on other networks of the zoo; or None.
    """

    network: networks.Network
    params: Params
    number: np.ndarray
    task: _population.Task
    canonicalizer: autoencoders.Canonicalizer | None


def load(config: harness.Config) -> CnnData:
    """Return the networks and images that a config asks for, checked.

    Of every training run only the checkpoint with the highest accuracy is taken.

    Args:
      config: keys of `merge_cnns.default_config`.

    Raises:
      ValueError: no zoo, one of other networks than CNNs or without `test_accuracy`,
        fewer networks than asked for, a canonicaliser of another architecture, or of
        another or an unknown division of the zoo, or images that do not fit.
      FileNotFoundError: no such zoo or canonicaliser, or no images.
    """
    if config.zoo is None:
        raise ValueError(
            "config.zoo names no zoo of CNN classifiers: make one with python"
            " launch/make_zoo.py --config=launch/configs/zoo_cnn.py --out=PATH"
        )
    cnns = zoo.load(config.zoo)
    if (kind := cnns.architecture["kind"]) != "cnn":
        raise ValueError(f"'{config.zoo}' holds networks of kind {kind!r}, not CNNs.")
    if "test_accuracy" not in cnns.metrics:
        raise ValueError(
            f"'{config.zoo}' has no metric test_accuracy, by which networks are chosen."
        )
    canonicalizer = _load_canonicalizer(config, cnns)
    chosen = _best(config, cnns)
    network = networks.build(cnns.architecture)
    task = _image_splits.classifier_task(
        ConfigDict({"data": config.data, "seed": config.data.seed}),
        network,
        num_train=config.data.num_train,
        num_test=config.data.num_test,
    )
    if config.data.unlabelled == "smooth":
        shape = np.shape(task.train.inputs)
        noise = merging.smooth_noise(shape, key=jax.random.key(config.seed))
        task = task._replace(train=task.train._replace(inputs=noise, targets=None))
    params = jax.tree.map(lambda x: np.asarray(x)[chosen], dict(cnns.params))
    return CnnData(network, params, chosen, task, canonicalizer)


def draw_pairs(num_networks: int, num_pairs: int, seed: int) -> np.ndarray:
    """Return disjoint random pairs `[N, 2]` of rows, the worse network first."""
    if 2 * num_pairs > num_networks:
        raise ValueError(
            f"config.num_pairs is {num_pairs}, which takes {2 * num_pairs} networks,"
            f" but there are {num_networks}: raise config.num_best or"
            " config.split.test_fraction, or use a larger zoo."
        )
    drawn = np.random.default_rng(seed).permutation(num_networks)[: 2 * num_pairs]
    return -np.sort(-drawn.reshape(-1, 2), axis=1)  # rows are sorted, best first


def draw_crowds(
    num_networks: int, sizes: tuple[int, ...], num_crowds: int, seed: int
) -> np.ndarray:
    """Return rows `[R, K]` of random crowds; smaller ones are their first networks."""
    if min(sizes) < 2 or max(sizes) > num_networks:
        raise ValueError(
            f"config.crowd.sizes must lie in 2..{num_networks}, the networks that there"
            f" are, got {tuple(sizes)}."
        )
    # Drawn whole, so that other sizes leave the members of a crowd as they are.
    randoms = np.random.default_rng((seed, 1)).spawn(num_crowds)
    drawn = [random.permutation(num_networks)[: max(sizes)] for random in randoms]
    return np.stack(drawn)


def _load_canonicalizer(config, cnns: zoo.Zoo) -> autoencoders.Canonicalizer | None:
    """Open the canonicaliser and check that it fits networks and split."""
    if config.canonicalizer is None:
        return None
    path = pathlib.Path(config.canonicalizer)
    canonicalizer = autoencoders.load_canonicalizer(path)
    zoo.require_architecture(cnns, canonicalizer.architecture)
    trained = dict(harness.flatten_config(harness.load_config(_find_config(path))))
    for key, value in config.split.items():
        if trained.get(key, value) != value:
            raise ValueError(
                f"'{path}' was trained with {key}={trained[key]}, but"
                f" config.split.{key} is {value}: networks that it has seen would be"
                " merged. Give the same value."
            )
    return canonicalizer


def _find_config(path: pathlib.Path) -> pathlib.Path:
    """Return the config of the run that a canonicaliser belongs to, given as either."""
    files = [folder / "config.json" for folder in (path, path.absolute().parent)]
    for file in files:
        if file.exists():
            return file
    raise ValueError(
        f"config.canonicalizer is '{path}', but there is neither '{files[0]}' nor"
        f" '{files[1]}', which says by which split it was trained: networks that it has"
        " seen could be merged. Give the workdir of its training run."
    )


def _best(config, cnns: zoo.Zoo) -> np.ndarray:
    """Return numbers of the best held-out networks, one per training run."""
    held_out = _population.split(cnns, **config.split.to_dict())["test"]
    accuracy = np.asarray(cnns.metrics["test_accuracy"])[held_out]
    held_out = held_out[np.argsort(-accuracy, kind="stable")]
    run = np.stack([cnns.subset_index, cnns.image_index], axis=1)[held_out]
    _, first = np.unique(run, axis=0, return_index=True)
    held_out = held_out[np.sort(first)]
    if config.num_best is None:
        return held_out
    if not 2 <= config.num_best <= len(held_out):
        raise ValueError(
            f"config.num_best must lie in 2..{len(held_out)}, the training runs that"
            f" are held out, got {config.num_best}."
        )
    return held_out[: config.num_best]
