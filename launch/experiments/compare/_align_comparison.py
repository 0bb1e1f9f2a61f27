"""Every method on every pair of a comparison: cells of work, each kept in a file."""

import itertools
import pathlib
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import (
    _align_crowds,
    _align_evaluation,
    _align_methods,
    _align_report,
)
from experiments.populations import _align_population
from symmerge_jax import deep_align


def methods(config: harness.Config, population: str) -> tuple[str, ...]:
    """Return the methods of the table of a population."""
    key = "methods"
    if population != "held_out" and config.other_methods:
        key = "other_methods"
    return _align_methods.choose(tuple(config[key]), tuple(config.models), key)


def all_methods(config: harness.Config) -> tuple[str, ...]:
    """Return the methods of all tables, each once."""
    return tuple(dict.fromkeys(methods(config, "held_out") + methods(config, "other")))


def model_folder(folder: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    """Return the folder of the training of a matcher."""
    return folder / "models" / f"{name}_{seed}"


def load_matchers(
    config: harness.Config, folder: pathlib.Path
) -> dict[tuple[str, int], deep_align.TrainedMatcher]:
    """Return the trained matchers of a run by name and seed.

    Errors are those of `deep_align.load_matcher`.
    """
    return {
        (name, seed): deep_align.load_matcher(
            model_folder(folder, name, seed) / "matcher"
        )
        for name in config.models
        for seed in config.seeds
    }


def compare(
    config: harness.Config,
    population: _align_population.Population,
    models: dict[tuple[str, int], deep_align.TrainedMatcher],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Measure what no file holds yet, and report.

    Args:
      config: keys of `deep_align.default_config`.
      population: that the matchers were trained on.
      models: from `load_matchers`.
      folder: of the run.

    Returns:
      What `results.json` holds, see `_align_report.write`.
    """
    populations = {"held_out": population}
    populations |= dict(_align_population.others(config, population, folder))
    files: dict[Any, pathlib.Path] = {
        job: _cell_file(config, folder, *job)
        for name in populations
        for job in itertools.product([name], methods(config, name), config.seeds)
    }
    solvers: dict[tuple[str, str], Any] = {}
    measurers: dict[str, Any] = {}

    def make(job: tuple[str, str, int]) -> dict[str, np.ndarray]:
        name, method, seed = job
        other, model = populations[name], _align_methods.METHODS[method].model
        trained = None if model is None else models[model, seed]
        which = str(other.architecture)
        if which not in measurers:
            measurers[which] = _align_evaluation.path_measurer(
                other.network, config.num_points
            )
        if (which, method) not in solvers:
            solvers[which, method] = _solver(config, method, trained, other)
        programs = solvers[which, method], measurers[which]
        return _cell(config, trained, other, *programs, seed)

    cells = harness.complete_arrays(files, make, "align")
    crowds = {}
    if config.crowds.sizes:
        crowds = _align_crowds.compare(config, population, models, folder)
    return _align_report.write(folder, config, populations, cells, models, crowds)


def _cell_file(config, folder, name, method, seed) -> pathlib.Path:
    """Return where a cell is; another source of other networks is another cell."""
    mark = _align_population.mark(config, name)
    return folder / "cells" / f"{name}_{mark}" / f"{method}_{seed}.npz"


def _solver(config, method, trained, population):
    matcher = None
    if trained is not None:
        matcher = trained.aligner(architecture=population.architecture).matcher
    return _align_methods.make_solver(config, method, matcher, population.network)


def _cell(config, trained, population, solve, measure, seed) -> dict[str, np.ndarray]:
    """Return the curves of one method on the pairs of one seed, and what it cost."""
    pairs = _align_population.draw_pairs(population, "test", config.num_pairs, seed)
    variables = None if trained is None else trained.variables
    solved = solve(variables, population, pairs, seed)
    return {
        **measure(population, pairs, solved.params),
        "function_error": solved.function_error,
        "seconds": np.asarray(solved.seconds),
    }
