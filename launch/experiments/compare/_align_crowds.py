"""Means of three and more classifiers, with and without what a matcher has learned."""

import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.compare import _align_evaluation
from experiments.populations import _align_population
from symmerge_jax import alignment, deep_align, merging, symmetry
from symmerge_jax.typing import Key, Params

METHODS = {
    "naive": "naive",
    "merge_many": "each to the mean (MergeMany)",
    "universe": "common reference (Universe)",
    "deep_align": "Deep-Align, onto the first",
    "deep_align_merge_many": "Deep-Align + MergeMany",
    "ours": "ours, onto the first",
    "ours_merge_many": "ours + MergeMany",
}
"""Labels of the ways to bring a crowd together."""


def compare(
    config: harness.Config,
    population: _align_population.Population,
    models: Mapping[tuple[str, int], deep_align.TrainedMatcher],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Measure the means of crowds of held-out networks; what was measured is kept.

    Args:
      config: keys of `deep_align.default_config`.
      population: of classifiers.
      models: matchers by name and seed.
      folder: of the run.

    Returns:
      By method `label` and, for each size, `accuracy` and `loss` of the mean network on
      test data, means over seeds with their standard deviation `..._std`; beside the
      methods "members", the networks themselves.
    """
    names = ["members", *(n for n in METHODS if _model_of(n) in (None, *config.models))]
    files = {
        job: folder / "cells/crowds" / ("_".join(map(str, job)) + ".npz")
        for job in itertools.product(names, config.crowds.sizes, config.seeds)
    }
    task = _align_population.make_loss(population.network)
    measure = jax.jit(
        lambda params, data: jax.lax.map(lambda one: task(one, data), params)
    )
    data = jax.device_put(population.test_data)
    solvers: dict[str, Any] = {}

    def make(job: tuple[str, int, int]) -> dict[str, np.ndarray]:
        name, size, seed = job
        rows = draw(config, population, seed)[:, :size]
        params = _align_population.pick(population.params, rows)
        if name == "members":
            merged = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params)
        else:
            model = _model_of(name)
            matcher = None if model is None else models[model, seed]
            if name not in solvers:
                solvers[name] = _solver(name, population.network.spec, matcher)
            variables = None if matcher is None else matcher.variables
            merged = solvers[name](variables, jax.random.key(seed), params)
        return jax.device_get(measure(merged, data))

    cells = harness.complete_arrays(files, make, "merge crowds")
    return {
        name: {
            "label": METHODS.get(name, "(the networks)"),
            "sizes": {
                str(size): _numbers([cells[name, size, s] for s in config.seeds])
                for size in config.crowds.sizes
            },
        }
        for name in names
    }


def draw(
    config: harness.Config, population: _align_population.Population, seed: int
) -> np.ndarray:
    """Return rows `[R, K]` of random crowds; smaller ones are their first networks."""
    held_out = population.parts["test"]
    randoms = np.random.default_rng([seed, 2]).spawn(config.crowds.num_crowds)
    largest = max(config.crowds.sizes)
    return np.stack([random.permutation(held_out)[:largest] for random in randoms])


def check(config: harness.Config, population: _align_population.Population) -> None:
    """Refuse crowds that cannot be drawn.

    Raises:
      ValueError: sizes below 2 or above the number of held-out networks, or INRs.
    """
    sizes, num = config.crowds.sizes, len(population.parts["test"])
    if not sizes:
        return
    if population.group is not None:
        raise ValueError("config.crowds.sizes is for classifiers, not for SIRENs.")
    if min(sizes) < 2 or max(sizes) > num or len(set(sizes)) != len(sizes):
        raise ValueError(
            f"config.crowds.sizes must differ and lie in 2..{num}, the networks that"
            f" are held out, got {tuple(sizes)}."
        )
    if config.crowds.num_crowds < 1:
        raise ValueError(
            f"config.crowds.num_crowds must be >= 1, got {config.crowds.num_crowds}."
        )


def lines(crowds: Mapping[str, Any]) -> list[str]:
    """Return a table of the results of `compare`: accuracy of the mean network."""
    sizes = list(next(iter(crowds.values()))["sizes"])
    width = max(len(found["label"]) for found in crowds.values()) + 2
    rows = [f"{'mean of k networks, accuracy %, k =':<{width}}"]
    rows[0] += "".join(f"{size:>16}" for size in sizes)
    for found in crowds.values():
        row = f"{found['label']:<{width}}"
        for size in sizes:
            numbers = found["sizes"][size]
            cell = f"{100 * numbers['accuracy']:.2f}"
            if (std := numbers["accuracy_std"]) is not None:
                cell += f" ± {100 * std:.2f}"
            row += f"{cell:>16}"
        rows.append(row)
    return rows


def _model_of(name: str) -> str | None:
    model = name.removesuffix("_merge_many")
    return model if model in ("deep_align", "ours") else None


def _solver(
    name: str,
    spec: symmetry.SymmetrySpec,
    trained: deep_align.TrainedMatcher | None,
) -> Callable[[Any, Key, Params], Params]:
    """Return `solve(variables, key, params)`, from crowds `[R, k]` to means `[R]`."""

    def bring(variables: Any, key: Key, crowd: Params) -> Params:
        learned: Any = None
        if trained is not None:
            learned = deep_align.DeepAlign(
                matcher=trained.matcher, variables=variables, num_sweeps=0
            )
        size = len(jax.tree.leaves(crowd)[0])
        if name == "naive":
            return crowd
        if learned is not None and not name.endswith("_merge_many"):
            return _onto_first(learned, key, crowd, spec)
        solver: Any = alignment.Universe()
        if name != "universe":
            solver = alignment.MergeMany(init=learned)
        problem = alignment.ManyProblem(
            params_batch=crowd,
            weights=merging.check_weights(None, size).astype(np.float32),
            spec=spec,
        )
        elements = solver(key, problem).elements
        return jax.vmap(lambda g, x: symmetry.act(g, x, spec))(elements, crowd)

    @jax.jit
    def solve(variables, key, params):
        keys = jax.random.split(key, len(jax.tree.leaves(params)[0]))
        one = lambda row: jax.tree.map(  # noqa: E731
            lambda x: jnp.mean(x, axis=0), bring(variables, *row)
        )
        return jax.lax.map(one, (keys, params))

    return solve


def _onto_first(aligner, key: Key, crowd: Params, spec) -> Params:
    """Return a crowd `[k]` whose networks are aligned with the first of them."""
    first = jax.tree.map(lambda x: x[0], crowd)

    def align(key, params):
        problem = alignment.AlignmentProblem(params_a=first, params_b=params, spec=spec)
        return symmetry.act(aligner(key, problem).element, params, spec)

    size = len(jax.tree.leaves(crowd)[0])
    return jax.vmap(align)(jax.random.split(key, size), crowd)


def _numbers(by_seed: list[dict[str, np.ndarray]]) -> dict[str, float | None]:
    numbers = [
        {"accuracy": 1 - float(x["error"].mean()), "loss": float(x["loss"].mean())}
        for x in by_seed
    ]
    return _align_evaluation.over_seeds(numbers)
