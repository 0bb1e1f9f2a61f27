"""Results of learned alignment as numbers, tables and figures."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness, populations, train
from experiments.compare import _align_cells, _methods, curves
from symmerge_jax import plots

_AVERAGED = (
    "num_steps",
    "best_step",
    "val_loss",
    "seconds_per_step",
    "twins",
    "changed_twins",
)
"""What is known of the training of a matcher; a run of one step has no seconds."""


def summarize(
    plan: Any,
    loaded: Mapping[str, populations.Population],
    models: _align_cells.Models,
    cells: _align_cells.Cells,
    crowds: _align_cells.Cells,
) -> harness.Results:
    """Return the results of a run.

    Returns:
      `models`, with sizes, steps, seconds per step and the fraction of neurons found
      again in twins, means over seeds; `populations`, each with its title and
      `methods`: label, what it sees, `barrier`, `auc` and `middle` of the loss and of
      classifiers the `accuracy` of the midpoint, seconds per pair and the largest
      function error; `crowds`, by method and size `accuracy` and `loss` of the mean
      network. Means over seeds have their standard deviation `..._std`.
    """
    population = loaded["held_out"]
    return {
        "networks": plan.kind,
        "architecture": dict(population.zoo.architecture),
        "num_train": len(population.parts["train"]),
        "seeds": list(plan.seeds),
        "num_points": plan.num_points,
        "models": {
            name: _model([models[name, seed] for seed in plan.seeds])
            for name in plan.matchers
        },
        "populations": {
            name: {
                "title": plan.titles[name],
                "num_networks": len(population.parts["test"]),
                "num_pairs": len(
                    cells[name, plan.methods[name][0], plan.seeds[0]]["loss"]
                ),
                "methods": {
                    method: _numbers(
                        method,
                        population.network.spec,
                        [cells[name, method, seed] for seed in plan.seeds],
                    )
                    for method in plan.methods[name]
                },
            }
            for name, population in loaded.items()
        },
        "crowds": _crowd_numbers(plan, population.network.spec, crowds),
    }


def tables(results: harness.Results) -> list[harness.Table]:
    """Return a table of matchers, one for each population, and one of crowds."""
    found = [_model_table(results)]
    num_seeds = len(results["seeds"])
    for population in results["populations"].values():
        found.append(_population_table(population, num_seeds))
    if results["crowds"]:
        found.append(_crowd_table(results["crowds"]))
    return found


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw the loss along the paths of each population, a panel by what methods see.

    The arrays are those of all cells, as `POPULATION/METHOD/SEED/loss` `[N, T]`.
    """
    lams = np.linspace(0, 1, results["num_points"])
    is_inr = results["networks"] == "siren"
    figures = {}
    for name, population in results["populations"].items():
        panels: dict[str, Any] = {}
        methods = population["methods"]
        for method in sorted(methods, key=list(_methods.METHODS).index):
            found = methods[method]
            losses = [arrays[f"{name}/{method}/{s}/loss"] for s in results["seeds"]]
            panels.setdefault(_methods.SEES[found["sees"]], {})[found["label"]] = (
                lams,
                *curves.mean_and_error(np.concatenate(losses)),
            )
        figures[f"paths_{name}"] = plots.mean_curves(
            panels,
            "λ",
            "mean squared error" if is_inr else "test loss (nats)",
            styles=_methods.styles(methods),
            log_scale=list(panels),
        )
    return figures


def _model(trained: list[Any]) -> dict[str, Any]:
    metadata = [one.metadata for one in trained]
    return {
        "features": trained[0].features["kind"],
        "num_parameters": train.num_parameters(trained[0].variables),
        **{
            key: float(np.mean([one[key] for one in metadata]))
            for key in _AVERAGED
            if key in metadata[0]
        },
    }


def _numbers(method: str, spec, by_seed: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = []
    for cell in by_seed:
        found = curves.summarize(cell["loss"])
        kept = {key: found[key] for key in ("barrier", "auc", "middle")}
        if "error" in cell:
            kept["accuracy"] = 1 - curves.summarize(cell["error"])["middle"]
        numbers.append(kept)
    errors = np.concatenate([cell["function_error"] for cell in by_seed])
    return {
        "label": _methods.label(method, spec),
        "sees": _methods.METHODS[method].sees,
        **curves.over_seeds(numbers),
        "seconds_per_pair": float(np.mean([cell["seconds"] for cell in by_seed])),
        "function_error": float(errors.max()),
    }


def _crowd_numbers(plan: Any, spec, cells: _align_cells.Cells) -> dict[str, Any]:
    if not cells:
        return {}
    found = {}
    for name in (_align_cells.MEMBERS, *plan.crowd_methods):
        is_method = name != _align_cells.MEMBERS
        found[name] = {
            "label": _methods.label(name, spec) if is_method else "(the networks)",
            "sees": _methods.METHODS[name].sees if is_method else "-",
            "sizes": {
                str(size): curves.over_seeds(
                    [
                        {
                            "accuracy": 1 - float(cells[name, size, s]["error"].mean()),
                            "loss": float(cells[name, size, s]["loss"].mean()),
                        }
                        for s in plan.seeds
                    ]
                )
                for size in plan.sizes
            },
        }
    return found


def _model_table(results: harness.Results) -> harness.Table:
    number = harness.Number
    rows = [
        (
            name,
            model["features"],
            number(model["num_parameters"], ",d"),
            number(model["num_steps"], ".0f"),
            number(model["twins"], ".2%"),
            number(model["changed_twins"], ".2%"),
        )
        for name, model in results["models"].items()
    ]
    columns = ("matcher", "features", "parameters", "steps", "twins %", "changed %")
    caption = (
        f"matchers trained on {results['num_train']} networks; share of neurons that"
        " they find again in twins, and in changed copies"
    )
    return harness.Table(caption, columns, rows)


def _population_table(population: Mapping[str, Any], num_seeds: int) -> harness.Table:
    methods = _methods.by_sight(population["methods"])
    columns = {"barrier": ".4f", "auc": ".4f", "middle": ".4f"}
    titles = ["barrier", "AUC", "mid loss"]
    if "accuracy" in methods[0]:
        columns["accuracy"] = ".2%"
        titles.append("mid acc %")
    rows = [
        (
            *(method["label"], method["sees"]),
            *_cells(method, columns),
            harness.Number(1000 * method["seconds_per_pair"], ".2f"),
            harness.Number(method["function_error"], ".1g"),
        )
        for method in methods
    ]
    caption = (
        f"{population['title']}: {num_seeds} x {population['num_pairs']} pairs of"
        f" {population['num_networks']} networks"
    )
    heads = ("method", "sees", *titles, "ms/pair", "function error")
    return harness.Table(caption, heads, rows)


def _crowd_table(crowds: Mapping[str, Any]) -> harness.Table:
    sizes = list(next(iter(crowds.values()))["sizes"])
    rows = [
        (
            *(found["label"], found["sees"]),
            *(
                cell
                for size in sizes
                for cell in _cells(found["sizes"][size], {"accuracy": ".2%"})
            ),
        )
        for found in crowds.values()
    ]
    columns = ("method", "sees", *(f"k = {size}" for size in sizes))
    return harness.Table("accuracy in % of the mean of k networks", columns, rows)


def _cells(
    numbers: Mapping[str, Any], columns: Mapping[str, str]
) -> Iterator[harness.Number]:
    for key, form in columns.items():
        yield harness.Number(numbers[key], form, numbers[f"{key}_std"])
