"""Populations of networks to align: where they come from, and who may be paired.

A population is made by a config of `make_classifier_zoo` (MLPs, CNNs) or `make_zoo`
(SIRENs), or read from a zoo file. Others stand beside it to see how far a trained
matcher carries: networks that were trained on other data, and networks of other widths.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from experiments import harness
from experiments.populations import (
    _image_splits,
    _inr_tasks,
    _population,
    _sources,
    make_classifier_zoo,
    make_zoo,
)
from symmerge_jax import learning, networks, symmetry, zoo

KINDS = ("mlp", "cnn", "siren")
"""Kinds of networks."""

OTHERS = ("rotated", "other_data", "other_width")
"""Populations that no matcher was trained on, beside the held-out networks."""

_FIRST = "dense_0"


def zoo_config(kind: str) -> harness.Config:
    """Return the keys of a population of this kind, see the makers of zoos."""
    if kind == "siren":
        return make_zoo.default_config()
    return make_classifier_zoo.default_config(kind)


def sources(config: harness.Config) -> dict[str, _sources.Source]:
    """Return where the populations of a config come from, by name.

    Args:
      config: keys of `deep_align.default_config`.

    Returns:
      First "held_out", that matchers are trained on, divided; then those of `OTHERS`
      that the config asks for, all of them in the parts "train" and "test".

    Raises:
      ValueError: another kind of networks, weights that are not finite, fewer networks
        than the split needs, images without two INRs, data that do not fit, or images
        to turn that are not square.
      FileNotFoundError: no such zoo, or no images.
    """
    held_out = _source(config, "population", "population")
    found = {"held_out": held_out}
    if config.rotated:
        assert held_out.planned is not None
        found["rotated"] = _sources.Source(
            _rotated(held_out.planned), lambda folder: _rotated(held_out.load(folder))
        )
    for name in ("other_data", "other_width"):
        if (other := _other_config(config, name)) is not None:
            found[name] = _source(other, name, f"{name}_{mark(config, name)}")
    return found


def mark(config: harness.Config, name: str) -> str:
    """Return text that differs for another population of the same name."""
    group = config[name].to_dict() if name in ("other_data", "other_width") else {}
    return harness.config_hash(harness.ConfigDict(group))


def pairable(population: _population.Population) -> learning.Pairable:
    """Return networks as a matcher is trained on them.

    INRs are paired with others of the same image, classifiers with any other.
    """
    group = None
    if population.zoo.architecture["kind"] == "siren":
        group = learning.image_groups(population.zoo)
    train = population.task.train
    return learning.Pairable(
        population.params, population.parts, group, train.inputs, train.targets
    )


def draw_pairs(
    population: _population.Population, part: str, num: int, seed: int
) -> np.ndarray:
    """Return up to `num` random pairs `[N, 2]` of rows in one part; see `Pairable`."""
    return pairable(population).pairs(part, num, [seed, *part.encode()])


def data_of(
    examples: _population.Examples, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the data of a task: what all networks share, and what those in rows have.

    Together they are `data` of `learning.task_losses`.
    """
    if np.ndim(examples.targets) > 1:
        return {"inputs": examples.inputs}, {"targets": examples.targets[rows]}
    return examples._asdict(), {}


def _source(config: harness.Config, key: str, file: str) -> _sources.Source:
    """Return where the networks of a config come from: `config.zoo`, or their maker."""
    maker: Any = make_zoo if config.networks == "siren" else make_classifier_zoo

    def opened(networks_zoo: zoo.Zoo) -> _population.Population:
        rows = np.arange(len(networks_zoo))
        parts = {"train": rows, "test": rows}
        if key == "population":
            parts = _population.split(networks_zoo, **config.split.to_dict())
        task = _task(config, networks_zoo)
        found = _population.population(networks_zoo, parts, task)
        for part in parts:
            _require_pair(found, part, key)
        if config.networks != "siren":
            return found
        folded = symmetry.fold_phases(dict(networks_zoo.params), found.network.spec)
        return _with_params(found, jax.device_get(folded))

    if config.zoo is None:
        return _sources.made_source(maker, config.population, f"{file}.zoo", opened)
    found = zoo.load(config.zoo)
    if (kind := found.architecture["kind"]) != config.networks:
        raise ValueError(
            f"'{config.zoo}' holds networks of kind {kind!r}, but config.networks is"
            f" {config.networks!r}."
        )
    return _sources.given_source(opened(found))


def _task(config: harness.Config, networks_zoo: zoo.Zoo) -> _population.Task:
    """Return the first `num_*_inputs` images of classifiers, or the pixels of INRs."""
    if config.networks == "siren":
        return _inr_tasks.inr_task(networks_zoo, 0, with_targets=True)
    network = networks.build(networks_zoo.architecture)
    task = _image_splits.classifier_task(config.population, network)
    counts = config.num_train_inputs, config.num_test_inputs
    train, test = (
        _population.Examples(*(x[:count] for x in examples))
        for examples, count in zip(task[:2], counts, strict=True)
    )
    return _population.Task(train, test)


def _require_pair(population: _population.Population, part: str, key: str) -> None:
    """Refuse a part without two networks that may be paired, and list no pairs."""
    rows, group = population.parts[part], pairable(population).group
    most, why = len(rows), "to pair"
    if group is not None:
        counts = np.unique(group[rows], return_counts=True)[1]
        most, why = counts.max(initial=0), "that draw one image"
    if most < 2:
        is_divided = "val" in population.parts
        remedy = f", or raise config.split.{part}_fraction" if is_divided else ""
        raise ValueError(
            f"The part {part!r} of config.{key} has {len(rows)} of"
            f" {len(population.zoo)} networks, and no two {why}: use more"
            f" networks{remedy}."
        )


def _with_params(population: _population.Population, params: Any):
    changed = dataclasses.replace(population.zoo, params=params)
    return population._replace(zoo=changed)


def _rotated(population: _population.Population) -> _population.Population:
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
    first["kernel"] = np.asarray(first["kernel"])[:, order]
    turned = [
        part._replace(inputs=part.inputs[:, order]) for part in population.task[:2]
    ]
    changed = _with_params(population, {**population.params, _FIRST: first})
    return changed._replace(task=_population.Task(*turned))


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
    other.population = harness.ConfigDict({**config.population.to_dict(), **changes})
    return other
