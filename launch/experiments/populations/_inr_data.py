"""Old names of parts of `populations`, for the experiments that still use them."""

import pathlib

import numpy as np

from experiments import harness
from experiments.populations import _inr_tasks, _population, _sources
from symmerge_jax import zoo

find_images = _inr_tasks.find_images
targets = _inr_tasks.targets


def load(config: harness.Config, workdir: pathlib.Path) -> _population.Population:
    """Return the INRs of a config, see `inr_source`."""
    return _sources.inr_source(config).load(workdir)


def split(networks_zoo: zoo.Zoo, config: harness.Config) -> dict[str, np.ndarray]:
    """Divide networks as `populations.split` does, by the keys of a config."""
    return _population.split(
        networks_zoo,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
