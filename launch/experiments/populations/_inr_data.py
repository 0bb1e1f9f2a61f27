"""Old names of parts of `populations`, for the experiments that still use them."""

import pathlib

from experiments import harness
from experiments.populations import _inr_tasks, _population, _sources

find_images = _inr_tasks.find_images
targets = _inr_tasks.targets
split = _sources.parts_of


def load(config: harness.Config, workdir: pathlib.Path) -> _population.Population:
    """Return the INRs of a config, see `inr_source`."""
    return _sources.inr_source(config).load(workdir)
