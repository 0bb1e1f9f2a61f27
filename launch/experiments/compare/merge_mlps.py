"""Train pairs of MLP classifiers apart, align them, and measure what lies between them.

The experiment of Ainsworth et al. 2023 (*Git Re-Basin*, arXiv 2209.04836, figure 2)
with more methods: networks of the same task and architecture that differ in their
initialisation and the order of the data are joined by straight paths in weight space.
Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    metrics.jsonl, checkpoints/  losses by epoch; for resuming
    networks/0.safetensors ...   the trained networks, for `launch/merge.py`
    cells/                       paths by method and pair, kept for the next start
    results.json, results.npz    measures, and all curves
    paths                        the curves, as .png and .pdf
"""

import functools
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import harness, populations
from experiments.compare import _bring, _methods, _paths, curves
from experiments.populations import mlp_training
from symmerge_jax import learning, plots

METHODS = (
    *("naive", "balanced", "matching_p", "matching", "matching_p_best"),
    *("matching_best", "frank_wolfe", "closed_form", "activation_matching"),
    *("sinkhorn", "matching_sinkhorn", "matching_best_sinkhorn", "straight_through"),
)
"""Methods that a config may name."""

OPTIONS: dict[str, dict[str, Any]] = {
    "matching_best": {"num_random_starts": 9, "max_sweeps": 100},
    "activation_matching": {"similarity": "correlation", "scales": "balanced"},
    "sinkhorn": {
        "cost": "midpoint",
        "num_steps": 300,
        "learning_rate": 0.3,
        "batch_size": 500,
        "eval_size": 5000,
        "eval_every": 20,
    },
    "straight_through": {
        "num_steps": 400,
        "learning_rate": 0.1,
        "batch_size": 500,
        "eval_size": 5000,
        "eval_every": 20,
    },
}
"""Keywords of solvers that a config may change; "sinkhorn" are those of all of these
solvers, whatever they start from."""

_TITLES = {
    "train_loss": "training loss (nats)",
    "train_accuracy": "training accuracy",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy",
}
"""What is measured on paths, with the titles of figures."""


class Plan(NamedTuple):
    """What a run does; all else is as in `default_config`.

    Attributes:
      mlps: the networks, and how they are trained.
      methods: names, each with a mark of its options and of the points of a path.
      options: keywords of solvers, by method.
    """

    mlps: mlp_training.Plan
    methods: dict[str, str]
    options: dict[str, dict[str, Any]]
    num_pairs: int
    num_points: int
    seed: int


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_mlps.py` for runs.

    `training` are the fields of `zoo.EpochOptions`. `methods` are some of
    `METHODS`, none for all that apply; the groups of `OPTIONS` hold options of solvers.
    """
    return ConfigDict(
        {
            "experiment": "merge_mlps",
            "seed": 0,
            "num_pairs": 1,
            "data": populations.data_keys(),
            "architecture": {
                "hidden_sizes": (32, 32),
                "activation": "relu",
                "use_bias": True,
            },
            "training": {
                "num_epochs": 100,
                "batch_size": 500,
                "learning_rate": 1e-3,
                "schedule": "constant",
                "weight_decay": 0.0,
            },
            "methods": (
                *("naive", "matching_p", "matching_best", "frank_wolfe"),
                *("activation_matching", "matching_best_sinkhorn", "straight_through"),
            ),
            **OPTIONS,
            "num_points": 25,
            "log_every": 10,
            "checkpoint_every": 10,
            "keep_checkpoints": 1,
        }
    )


def plan(config: harness.Config) -> Plan:
    """Take a config apart; see `Experiment`."""
    harness.check_midpoint(config)
    _methods.check_names(config.methods, METHODS, "config.methods")
    mlps = mlp_training.plan(config)
    options = {name: config[name].to_dict() for name in OPTIONS}
    names = _methods.choose(config.methods, METHODS, mlps.network.spec)
    for name in names:
        _methods.prepare(name, _context(mlps, options))
    return Plan(
        mlps=mlps,
        methods={name: _mark(name, options, config.num_points) for name in names},
        options=options,
        num_pairs=config.num_pairs,
        num_points=config.num_points,
        seed=config.seed,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Train the pairs, align them by every method, and measure the paths.

    Returns:
      `networks`: loss (nats) and accuracy of each on both sets. `methods`: by name its
      label, what it sees, and means over pairs with their errors `..._stderr`: seconds,
      what the solver says, the largest `function_error`, and of both sets barrier and
      AUC of the loss, loss and accuracy of the midpoint, accuracy of the two ends and
      by how much that of the midpoint is below it.
    """
    params = mlp_training.train(plan.mlps, folder)
    context = _context(plan.mlps, plan.options)
    prepared = functools.cache(lambda name: _methods.prepare(name, context))
    cells = harness.complete_arrays(
        {
            (name, pair): folder / "cells" / f"{name}_{pair}_{plan.methods[name]}.npz"
            for name, pair in itertools.product(plan.methods, range(plan.num_pairs))
        },
        lambda job: _measure(plan, prepared(job[0]), context.task, params, job[1]),
        "align",
    )
    found = {
        name: [cells[name, pair] for pair in range(plan.num_pairs)]
        for name in plan.methods
    }
    results = {
        "networks": [
            {measure: float(pair[measure][end]) for measure in _TITLES}
            for pair in next(iter(found.values()))
            for end in (0, -1)
        ],
        "methods": {name: _numbers(plan, name, found[name]) for name in found},
        "num_pairs": plan.num_pairs,
        "num_points": plan.num_points,
    }
    arrays: dict[str, Any] = {
        f"{name}/{measure}": np.stack([pair[measure] for pair in pairs])
        for name, pairs in found.items()
        for measure in _TITLES
    }
    arrays["lams"] = np.linspace(0, 1, plan.num_points)
    harness.save_arrays(folder / "results.npz", arrays)
    return results


def tables(results: harness.Results) -> list[harness.Table]:
    """Return the table of methods, measured on test images."""
    columns = {
        "test_barrier": ("barrier", ".4f"),
        "test_auc": ("AUC", ".4f"),
        "test_midpoint_loss": ("mid loss", ".4f"),
        "test_midpoint_accuracy": ("mid acc %", ".2%"),
        "test_parents_accuracy": ("ends acc %", ".2%"),
        "train_barrier": ("train barrier", ".4f"),
        "seconds": ("s/pair", ".2f"),
    }
    rows = [
        (
            method["label"],
            method["sees"],
            *(
                harness.Number(method[key], form, method.get(f"{key}_stderr"))
                for key, (_, form) in columns.items()
            ),
        )
        for method in _methods.by_sight(results["methods"])
    ]
    num = results["num_pairs"]
    caption = (
        f"{num} pair{'s' * (num > 1)} of MLPs that were trained apart; losses in nats"
        " on test images, mid: halfway between the two"
    )
    titles = [title for title, _ in columns.values()]
    return [harness.Table(caption, ("method", "sees", *titles), rows)]


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw loss and accuracy along the paths, `METHOD/MEASURE` `[N, T]` of arrays."""
    methods = results["methods"]
    panels = {
        title: curves.of_methods(methods, arrays, measure)
        for measure, title in _TITLES.items()
    }
    figure = plots.mean_curves(
        panels,
        "λ",
        num_columns=2,
        styles=_methods.styles(methods),
        log_scale=[title for measure, title in _TITLES.items() if "loss" in measure],
    )
    return {"paths": figure}


def _context(mlps: mlp_training.Plan, options: Mapping[str, Any]) -> _bring.Context:
    return _bring.Context(
        network=mlps.network,
        task=functools.partial(learning.task_losses, mlps.network),
        options=options,
        chunk_size=1,
    )


def _mark(name: str, options: Mapping[str, Any], num_points: int) -> str:
    """Return text that differs for other options of a method."""
    group = "sinkhorn" if name.endswith("sinkhorn") else name
    recipe = {"options": options.get(group, {}), "num_points": num_points}
    return harness.config_hash(ConfigDict(recipe))


def _measure(plan: Plan, bring, task, params, pair: int) -> dict[str, np.ndarray]:
    """Return the curves `[T]` of a pair, and what the method says of it."""
    mlps, key = plan.mlps, jax.random.fold_in(jax.random.key(plan.seed), pair)
    two = jax.tree.map(lambda x: x[None, 2 * pair : 2 * pair + 2], params)
    brought = bring(_bring.Crowds(two, key[None], data=mlps.task.train._asdict()))
    arrays: dict[str, Any] = {
        "seconds": brought.seconds,
        "function_error": brought.function_error[0],
    }
    if (result := brought.result) is not None:
        arrays |= {
            "objective": result.objective[0, -1],
            "start_objectives": result.start_objectives[0],
            "num_iters": result.num_iters[0],
            "converged": result.converged[0],
        }
    a, b = _bring.ends(brought.params)
    for split, data in (("train", mlps.task.train), ("test", mlps.task.test)):
        found = _paths.between(task, a, b, plan.num_points, data._asdict())
        arrays[f"{split}_loss"] = found["loss"][0]
        arrays[f"{split}_accuracy"] = 1 - found["error"][0]
    return {name: np.asarray(value) for name, value in arrays.items()}


def _numbers(plan: Plan, name: str, pairs: list[dict[str, np.ndarray]]):
    """Return means over pairs, and their errors where there are several."""
    numbers: dict[str, Any] = {
        "label": _methods.label(name, plan.mlps.network.spec),
        "sees": _methods.METHODS[name].sees,
    }
    each = [_numbers_of_pair(pair) for pair in pairs]
    for key, value in each[0].items():
        values = [one[key] for one in each]
        if len(values) == 1 or not isinstance(value, float):
            numbers[key] = value if len(values) == 1 else values
        else:
            found = curves.number(values)
            numbers |= {key: found["mean"], f"{key}_stderr": found["se"]}
    return numbers


def _numbers_of_pair(pair: dict[str, np.ndarray]) -> dict[str, Any]:
    numbers = {key: pair[key].tolist() for key in pair if key not in _TITLES}
    for split in ("train", "test"):
        loss, accuracy = (pair[f"{split}_{x}"] for x in ("loss", "accuracy"))
        found, middle = curves.summarize(loss[None]), len(loss) // 2
        parents = float(accuracy[0] + accuracy[-1]) / 2
        numbers |= {
            f"{split}_barrier": found["barrier"],
            f"{split}_auc": found["auc"],
            f"{split}_midpoint_loss": float(loss[middle]),
            f"{split}_midpoint_accuracy": float(accuracy[middle]),
            f"{split}_parents_accuracy": parents,
            f"{split}_accuracy_drop": parents - float(accuracy[middle]),
        }
    return numbers


EXPERIMENT = harness.Experiment(
    name="merge_mlps",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=tables,
    draw=draw,
    may_change=(
        "methods",
        "num_points",
        *(f"{name}.{key}" for name, keys in OPTIONS.items() for key in keys),
    ),
)
