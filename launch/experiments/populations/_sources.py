"""Where the population of a config comes from: a zoo file, a folder, or a maker."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments import harness
from experiments.populations import (
    _image_splits,
    _inr_tasks,
    _population,
    make_classifier_zoo,
    make_zoo,
)
from symmerge_jax import networks, training, zoo


class Source(NamedTuple):
    """Where a population comes from.

    Attributes:
      planned: the population before any work: weights that are not made yet are zeros.
        None for a folder of checkpoints, which has to be imported first.
      load: `load(workdir)` returns the population; a zoo that `config.zoo` does not
        name is made or imported in the workdir.
    """

    planned: _population.Population | None
    load: Callable[[pathlib.Path], _population.Population]


def made_source(
    maker: Any,
    config: harness.Config,
    file: str,
    opened: Callable[[zoo.Zoo], _population.Population],
) -> Source:
    """Return the source of a zoo that `maker` makes, as a file in the workdir."""
    return Source(
        opened(maker.plan(config)),
        lambda workdir: opened(maker.run(config, workdir / file)),
    )


def given_source(population: _population.Population) -> Source:
    """Return the source of a population that is there already."""
    return Source(population, lambda _: population)


def inr_source(config: harness.Config) -> Source:
    """Return where the INRs of a config come from.

    Args:
      config: keys of `make_zoo`, `image_size`, `val_fraction`, `test_fraction`, and
        `zoo`: a zoo file, a folder of checkpoints, or None to make the INRs.

    Raises:
      ValueError: networks that are not finite, or fewer than the split needs; keys that
        describe a zoo to be made, beside a `config.zoo` that was made differently.
      FileNotFoundError: no such zoo, or no images.
    """

    def divided(inrs: zoo.Zoo) -> _population.Population:
        task = _inr_tasks.inr_task(inrs, config.image_size)
        return _population.population(inrs, parts_of(inrs, config), task)

    own = _keys_of(make_zoo, config)
    if config.zoo is None:
        return made_source(make_zoo, own, "inrs.zoo", divided)
    path = pathlib.Path(config.zoo)
    is_imported = path.is_dir() and not zoo.is_sharded(path)
    inrs = None if is_imported else zoo.load(path)
    described = {} if inrs is None else make_zoo.describes(inrs)
    harness.refuse_unused(
        own,
        make_zoo.default_config(),
        ("fits_per_image", "data", "architecture", "fit"),
        f"zoo={config.zoo!r}",
        fulfilled={"data.dir": config.data.dir, **described},
    )
    if inrs is None:
        return Source(None, lambda at: divided(_imported(path, at / "inrs.zoo")))
    return given_source(divided(inrs))


def classifier_source(config: harness.Config) -> Source:
    """Return where the classifiers of a config come from, with their images.

    Args:
      config: keys of `make_classifier_zoo`, `val_fraction`, `test_fraction`, and `zoo`:
        a zoo file, or None to train the classifiers.

    Raises:
      ValueError: as for `inr_source`; images that the networks do not read.
      FileNotFoundError: no such zoo, or no images.
    """

    def divided(classifiers: zoo.Zoo) -> _population.Population:
        network = networks.build(classifiers.architecture)
        task = _image_splits.classifier_task(config, network)
        return _population.population(classifiers, parts_of(classifiers, config), task)

    own = _keys_of(make_classifier_zoo, config)
    if config.zoo is None:
        return made_source(make_classifier_zoo, own, "classifiers.zoo", divided)
    classifiers = zoo.load(config.zoo)
    described = make_classifier_zoo.describes(classifiers)
    harness.refuse_unused(
        own,
        make_classifier_zoo.default_config(),
        {key.split(".")[0] for key in described},
        f"zoo={config.zoo!r}",
        fulfilled=described,
    )
    return given_source(divided(classifiers))


def _keys_of(maker: Any, config: harness.Config) -> harness.ConfigDict:
    """Return the keys of a config that a maker of zoos reads."""
    defaults = maker.default_config()
    own = harness.ConfigDict({key: config[key] for key in defaults})
    if "experiment" in own:
        own.experiment = defaults.experiment
    return own


def parts_of(networks_zoo: zoo.Zoo, config: harness.Config) -> dict[str, np.ndarray]:
    """Divide networks as `split` does, by the keys of a config."""
    return _population.split(
        networks_zoo,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )


def _imported(folder: pathlib.Path, file: pathlib.Path) -> zoo.Zoo:
    training.on_first(lambda: file.exists() or make_zoo.run_import(folder, file))
    with training.together():
        return zoo.load(file)
