"""What learned alignment measures: every method on pairs and crowds, kept in files."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments import harness, populations
from experiments.compare import _bring, _methods, _paths
from experiments.populations import pairable
from symmerge_jax import deep_align, learning, networks, symmetry

Cells = dict[Any, dict[str, np.ndarray]]
Models = Mapping[tuple[str, int], deep_align.TrainedMatcher]
"""Trained matchers by name and seed."""

MEMBERS = "members"
"""The networks of crowds themselves, beside the methods."""


def pairs(
    plan: Any,
    loaded: Mapping[str, populations.Population],
    models: Models,
    folder: pathlib.Path,
) -> Cells:
    """Measure the paths between aligned pairs; cells are kept in the folder of the run.

    Returns:
      By population, method and seed curves `[N, T]` of each measure, `function_error`
      `[N]`, and `seconds` per pair.
    """
    files = {
        (name, method, seed): folder
        / f"cells/{name}_{plan.marks[name]}/{method}_{seed}.npz"
        for name in loaded
        for method, seed in itertools.product(plan.methods[name], plan.seeds)
    }
    bring = _Solvers(plan, models)
    losses: dict[str, Any] = {}  # one for all networks of an architecture

    def make(job: tuple[str, str, int]) -> dict[str, np.ndarray]:
        name, method, seed = job
        population = loaded[name]
        rows = pairable.draw_pairs(population, "test", plan.num_pairs, seed)
        brought = bring(method, population, rows, seed)
        shared, own = pairable.data_of(population.task.test, rows[:, 0])
        a, b = ({"params": end, "own": own} for end in _bring.ends(brought.params))
        architecture = str(population.zoo.architecture)
        task = losses.setdefault(architecture, _losses_of(population.network))
        found = _paths.between(task, a, b, plan.num_points, jax.device_put(shared))
        return {
            **found,
            "function_error": brought.function_error,
            "seconds": np.asarray(brought.seconds / len(rows)),
        }

    return harness.complete_arrays(files, make, "align")


def crowds(
    plan: Any,
    population: populations.Population,
    models: Models,
    folder: pathlib.Path,
) -> Cells:
    """Measure the means of crowds of held-out classifiers, kept likewise.

    Returns:
      By method or `MEMBERS`, size and seed the measures `[R]`.
    """
    files = {
        job: folder / "cells/crowds" / ("_".join(map(str, job)) + ".npz")
        for job in itertools.product(
            (MEMBERS, *plan.crowd_methods), plan.sizes, plan.seeds
        )
    }
    bring = _Solvers(plan, models)
    task = functools.partial(learning.task_losses, population.network)
    data = jax.device_put(population.task.test._asdict())

    def make(job: tuple[str, int, int]) -> dict[str, np.ndarray]:
        name, size, seed = job
        rows = draw_crowds(plan, population, seed)[:, :size]
        if name == MEMBERS:
            members = symmetry.rows(population.params, rows.ravel())
            return _paths.alone(task, members, data)
        params = bring(name, population, rows, seed).params
        return _paths.alone(task, _bring.mean(params), data)

    return harness.complete_arrays(files, make, "merge crowds") if files else {}


class _Solvers:
    """Brings crowds together; each method is compiled once for an architecture."""

    def __init__(self, plan: Any, models: Models):
        self._plan, self._models = plan, models
        self._prepared: dict[tuple[str, str], _bring.Bring] = {}

    def __call__(
        self,
        method: str,
        population: populations.Population,
        rows: np.ndarray,
        seed: int,
    ) -> _bring.Brought:
        needs, architecture = (
            _methods.METHODS[method].needs,
            population.zoo.architecture,
        )
        trained = None if needs is None else self._models[needs, seed]
        key = method, str(architecture)
        if key not in self._prepared:
            matcher = None
            if trained is not None:
                matcher = trained.aligner(architecture=architecture).matcher
            context = self._plan.context(population, matcher)
            self._prepared[key] = _methods.prepare(method, context)
        shared, own = pairable.data_of(population.task.train, rows[:, 0])
        return self._prepared[key](
            _bring.Crowds(
                params=symmetry.rows(population.params, rows),
                keys=jax.random.split(jax.random.key(seed), len(rows)),
                data=shared,
                own=own,
                variables=None if trained is None else trained.variables,
                inputs=population.task.test.inputs[:64],
            )
        )


def _losses_of(network: networks.Network) -> Callable[[Any, Any], Any]:
    def losses(point, data):
        return learning.task_losses(network, point["params"], {**data, **point["own"]})

    return losses


def draw_crowds(plan: Any, population: populations.Population, seed: int) -> np.ndarray:
    """Return rows `[R, K]` of random crowds; smaller ones are their first networks."""
    held_out = population.parts["test"]
    randoms = np.random.default_rng([seed, 2]).spawn(plan.num_crowds)
    drawn = [random.permutation(held_out)[: max(plan.sizes)] for random in randoms]
    return np.stack(drawn)
