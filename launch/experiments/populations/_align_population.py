"""Populations of networks to align: parts, pairs, the task that they were trained on.

A population is made by a config of `make_classifier_zoo` (MLPs, CNNs) or `make_zoo`
(SIRENs), or read from a zoo file. Others stand beside it to see how far a trained
matcher carries: networks that were trained on other data, and networks of other widths.
"""

import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.populations import (
    _image_splits,
    _inr_data,
    make_classifier_zoo,
    make_zoo,
)
from symmerge_jax import networks, symmetry, zoo
from symmerge_jax.typing import Array, Params

KINDS = ("mlp", "cnn", "siren")
"""Kinds of networks."""

OTHERS = ("rotated", "other_data", "other_width")
"""Populations that no matcher was trained on, beside the held-out networks."""

_FIRST = "dense_0"


class Population(NamedTuple):
    """Networks of one architecture, and what they are to do.

    Attributes:
      architecture: as `networks.build` takes it.
      network: what it builds.
      params: `[N]` networks.
      parts: rows of the networks in "train", "val" and "test".
      group: `[N]` image that an INR draws: it is paired with others of the same image.
        None for classifiers, which are paired with any.
      own: data of each network: `targets` `[N, S, O]` of INRs; none of classifiers.
      train_data: `{name: [S, ...]}`, `inputs` and, for classifiers, `labels`.
      test_data: the same of held-out images; for INRs that of training.
      statistics: mean and standard deviation per tensor over the training networks.
    """

    architecture: dict[str, Any]
    network: networks.Network
    params: Params
    parts: dict[str, np.ndarray]
    group: np.ndarray | None
    own: dict[str, np.ndarray]
    train_data: dict[str, np.ndarray]
    test_data: dict[str, np.ndarray]
    statistics: Any


def zoo_config(kind: str) -> harness.Config:
    """Return the keys of a population of this kind, see the makers of zoos."""
    if kind == "siren":
        return make_zoo.default_config()
    return make_classifier_zoo.default_config(kind)


def load(config: harness.Config, folder: pathlib.Path) -> Population:
    """Return the population of a config; it is made if no file holds it.

    Args:
      config: keys of `deep_align.default_config`.
      folder: where it is made.

    Returns:
      The population.

    Raises:
      ValueError: another kind of networks, weights that are not finite, fewer networks
        than the split needs, INRs of which no image has two, or data that do not fit.
      FileNotFoundError: no such zoo, or no images.
    """
    return _divided(config, _open(config, folder / "population.zoo"))


def plan(config: harness.Config) -> Population:
    """Return the population before any work: weights that are not made yet are zeros.

    Raises:
      ValueError: as `load`.
      FileNotFoundError: as `load`.
    """
    return _divided(config, _open(config, None))


def others(
    config: harness.Config, population: Population, folder: pathlib.Path | None
) -> Iterator[tuple[str, Population]]:
    """Yield the other populations that a config asks for, by name.

    Args:
      config: keys of `deep_align.default_config`.
      population: the one that matchers are trained on.
      folder: where they are made; None to plan, as `plan` does.

    Yields:
      A key of `OTHERS`, and the population, all of it in the part "test".

    Raises:
      ValueError: as `load`, or images that are not square and cannot be turned.
      FileNotFoundError: as `load`.
    """
    if config.rotated:
        yield "rotated", _rotated(population)
    for name in ("other_data", "other_width"):
        if (other := _other_config(config, name)) is not None:
            file = f"{name}_{mark(config, name)}.zoo"
            path = None if folder is None else folder / file
            yield name, _whole(other, _open(other, path), name)


def mark(config: harness.Config, name: str) -> str:
    """Return text that differs for another population of the same name."""
    group = config[name].to_dict() if name in ("other_data", "other_width") else {}
    return harness.config_hash(ConfigDict(group))


def draw_pairs(population: Population, part: str, num: int, seed: int) -> np.ndarray:
    """Return random pairs `[num, 2]` of rows: two networks of one part.

    INRs are paired with others of the same image. No pair is drawn twice, in either
    order, unless there are fewer than `num`: then each comes once.

    Args:
      population: the networks.
      part: "train", "val" or "test".
      num: number of pairs.
      seed: of the choice.
    """
    rows = population.parts[part]
    if population.group is None:
        first, second = np.triu_indices(len(rows), 1)
    else:
        group = population.group[rows]
        first, second = np.nonzero(np.triu(group[:, None] == group[None], 1))
    pairs = np.stack([rows[first], rows[second]], axis=1)
    random = np.random.default_rng([seed, *part.encode()])
    pairs = pairs[random.permutation(len(pairs))[:num]]
    return random.permuted(pairs, axis=1)


def pick(tree: Any, rows: Any) -> Any:
    """Return these rows of every array."""
    return jax.tree.map(lambda x: x[rows], tree)


def make_loss(
    network: networks.Network,
) -> Callable[[Params, dict[str, Any]], dict[str, Array]]:
    """Return `loss(params, data)` of one network: a dict of scalars.

    With `labels` in the data `loss` is the cross-entropy in nats, and `error` the rate
    of errors; with `targets` it is the mean squared error.
    """

    def loss(params: Params, data: dict[str, Any]) -> dict[str, Array]:
        if "targets" in data:
            outputs = network.apply(params, data["inputs"])
            return {"loss": jnp.mean((outputs - data["targets"]) ** 2)}
        found = networks.evaluate_classifier(
            network.apply, params, data["inputs"], data["labels"], batch_size=250
        )
        return {"loss": found["loss"], "error": 1 - found["accuracy"]}

    return loss


def _open(config: harness.Config, path: pathlib.Path | None) -> zoo.Zoo:
    """Return the zoo of a config, made at a path; None for zeros in its place."""
    maker: Any = make_zoo if config.networks == "siren" else make_classifier_zoo
    if config.zoo is None:
        if path is None:
            return maker.plan(config.population)
        return maker.run(config.population, path)
    found = zoo.load(config.zoo)
    if (kind := found.architecture["kind"]) != config.networks:
        raise ValueError(
            f"'{config.zoo}' holds networks of kind {kind!r}, but config.networks is"
            f" {config.networks!r}."
        )
    return found


def _divided(config: harness.Config, networks_zoo: zoo.Zoo) -> Population:
    zoo.check_finite(networks_zoo)
    parts = _inr_data.split(networks_zoo, config.split)
    population = _population(config, networks_zoo, parts)
    for part, rows in parts.items():
        if not _has_pair(population, part):
            why = "that draw one image" if population.group is not None else "to pair"
            raise ValueError(
                f"The part {part!r} of {len(networks_zoo)} networks has {len(rows)}, of"
                f" which there are no two {why}: use more networks, or raise"
                f" config.split.{part}_fraction."
            )
    return population


def _whole(config: harness.Config, networks_zoo: zoo.Zoo, name: str) -> Population:
    zoo.check_finite(networks_zoo)
    rows = np.arange(len(networks_zoo))
    population = _population(config, networks_zoo, {"train": rows, "test": rows})
    if not _has_pair(population, "test"):
        why = " that draw one image" if population.group is not None else ""
        raise ValueError(
            f"The population config.{name} has {len(rows)} networks, of which there are"
            f" no two{why}: use more."
        )
    return population


def _has_pair(population: Population, part: str) -> bool:
    """Whether a part has two networks that may be paired, without listing the pairs."""
    rows = population.parts[part]
    if population.group is None:
        return len(rows) > 1
    _, counts = np.unique(population.group[rows], return_counts=True)
    return bool((counts > 1).any())


def _population(config, networks_zoo: zoo.Zoo, parts) -> Population:
    network = networks.build(networks_zoo.architecture)
    params = jax.tree.map(np.asarray, dict(networks_zoo.params))
    group, own = None, {}
    if config.networks == "siren":
        # Phases are no part of the group: separate fits need not agree on them.
        fold = jax.jit(jax.vmap(lambda p: symmetry.fold_phases(p, network.spec)))
        params = jax.device_get(fold(params))
        group = _images_of(networks_zoo)
        grid, own["targets"] = _inr_data.targets(networks_zoo)
        train_data = test_data = {"inputs": grid}
    else:
        train_data, test_data = _images(config, network)
    return Population(
        architecture=dict(networks_zoo.architecture),
        network=network,
        params=params,
        parts=parts,
        group=group,
        own=own,
        train_data=train_data,
        test_data=test_data,
        statistics=zoo.statistics(zoo.select(networks_zoo, parts["train"])),
    )


def _images_of(inrs: zoo.Zoo) -> np.ndarray:
    """Return a number `[N]` that two networks share if they draw the same image."""
    identity = np.stack([inrs.subset_index, inrs.image_index], axis=1)
    return np.unique(identity, axis=0, return_inverse=True)[1]


def _images(config, network: networks.Network) -> list[dict[str, np.ndarray]]:
    """Return the first so many images of training and of test, as data of a loss."""
    splits = _image_splits.load_splits(config.population)
    (num_classes,) = jax.eval_shape(
        network.apply,
        jax.eval_shape(network.init, jax.random.key(0)),
        jax.ShapeDtypeStruct((1, *network.input_shape), np.float32),
    ).shape[1:]
    found = []
    for part, images in zip(("train", "test"), splits, strict=True):
        if images.labels.max() >= num_classes:
            raise ValueError(
                f"config.population.data.source {config.population.data.source!r} has"
                f" classes up to {images.labels.max()}, the networks know"
                f" {num_classes}."
            )
        inputs = networks.classifier_inputs(images.images, network.input_shape)
        count = config[f"num_{part}_inputs"]
        if count is not None and count < 1:
            raise ValueError(f"config.num_{part}_inputs must be >= 1, got {count}.")
        found.append({"inputs": inputs[:count], "labels": images.labels[:count]})
    return found


def _rotated(population: Population) -> Population:
    """Return the held-out networks as if trained on images turned by 90 degrees.

    The weights of a first layer start independent of each other, whatever the pixel, so
    that moving them with the pixels gives networks of the distribution that training on
    turned images has.
    """
    size = math.prod(population.network.input_shape)
    side = math.isqrt(size)
    if side**2 != size:
        raise ValueError(
            f"config.rotated turns square images, these have {size} pixels: set it to"
            " False."
        )
    order = np.rot90(np.arange(size).reshape(side, side)).ravel()
    first = dict(population.params[_FIRST])
    first["kernel"] = first["kernel"][:, order]

    def turned(data):
        return {**data, "inputs": data["inputs"][:, order]}

    return population._replace(
        params={**population.params, _FIRST: first},
        train_data=turned(population.train_data),
        test_data=turned(population.test_data),
    )


def _other_config(config: harness.Config, name: str) -> harness.Config | None:
    """Return the config of another population, or None if none is asked for."""
    group = config[name]
    if name == "other_data" and group.source is not None:
        changes = {"data": {**config.population.data.to_dict(), "source": group.source}}
    elif name == "other_width" and group.hidden_sizes:
        sizes = "channels" if config.networks == "cnn" else "hidden_sizes"
        architecture = config.population.architecture.to_dict()
        changes = {"architecture": {**architecture, sizes: group.hidden_sizes}}
    else:
        return None
    if config.networks != "siren":
        changes["num_networks"] = group.num_networks
    other = config.copy_and_resolve_references()
    other.zoo = group.zoo
    other.population = ConfigDict({**config.population.to_dict(), **changes})
    return other
