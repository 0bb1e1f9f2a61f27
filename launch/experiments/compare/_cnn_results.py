"""Results of merging CNNs as numbers, tables and figures."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _methods, curves, repairs
from symmerge_jax import plots

Cells = Mapping[tuple, dict[str, np.ndarray]]
"""Arrays of every piece of work: ("networks",), ("pairs", METHOD) and ("crowd", METHOD,
SIZE)."""

_MEMBERS = "mean of the members"


def summarize(plan: Any, cells: Cells) -> harness.Results:
    """Return the results of a run.

    Returns:
      `pairs`, numbers in the zoo; `parents`, mean accuracy and loss of the paired
      networks; `columns`, what is done after the mean; `unlabelled`, the kind of inputs
      that this and methods of data see; `methods`, each with its label,
      what it sees, seconds per pair, largest function error, the numbers of
      `curves.summarize` of `loss` (nats) and `error` (1 - accuracy) on the path, and by
      column `accuracy`, `loss` and `drop` of the mean, by how much its accuracy is
      below that of the two networks; `crowd`, with accuracy and loss of the means by
      method, column and size, and of `members`. Means have a standard error `se` over
      pairs or crowds.
    """
    alone = cells[("networks",)]
    results: dict[str, Any] = {
        "num_networks": len(plan.data.number),
        "num_test_images": len(plan.data.task.test.targets),
        "num_points": plan.num_points,
        "columns": [column.key for column in plan.columns],
        "unlabelled": plan.unlabelled,
        "pairs": plan.data.number[plan.pairs].tolist(),
        "methods": {},
    }
    if plan.methods:
        results["parents"] = {
            measure: curves.number(alone[measure][plan.pairs].mean(axis=1))
            for measure in ("accuracy", "loss")
        }
        parents = alone["accuracy"][plan.pairs].mean(axis=1)
        results["methods"] = {
            name: _pair_numbers(plan, name, parents, cells["pairs", name])
            for name in plan.methods
        }
    if plan.sizes:
        accuracies = (alone["accuracy"][plan.crowds[:, :k]] for k in plan.sizes)
        results["crowd"] = {
            "sizes": list(plan.sizes),
            "num_crowds": len(plan.crowds),
            "members": [curves.number(found.mean(axis=1)) for found in accuracies],
            "methods": {
                name: _crowd_numbers(
                    plan, name, [cells["crowd", name, size] for size in plan.sizes]
                )
                for name in plan.crowd_methods
            },
        }
    return results


def tables(results: harness.Results) -> list[harness.Table]:
    """Return tables of paths and means of pairs, and one of crowds, or some of them."""
    found, keys = [], results["columns"]
    if results["methods"]:
        num = len(results["pairs"])
        caption = (
            f"{num} pair{'s' * (num > 1)} of CNNs that were trained independently,"
            f" {results['num_test_images']} test images; losses in nats, mid: halfway"
            " between the two"
        )
        columns = ("method", "sees", "mid acc %", "drop %", "mid loss")
        columns = (*columns, "barrier", "AUC", "s/pair", "function error")
        found.append(harness.Table(caption, columns, [*_path_rows(results)]))
        caption = (
            "accuracy of the means in %, by what is done after the mean; inputs for it"
            f" are {results.get('unlabelled', 'given')}"
        )
        columns = ("method", "sees", *map(repairs.title, keys))
        found.append(harness.Table(caption, columns, [*_mean_rows(results)]))
    if "crowd" in results:
        crowd = results["crowd"]
        caption = (
            f"accuracy in % of the mean of k networks, {crowd['num_crowds']} crowds"
        )
        sizes = (f"k = {k}" for k in crowd["sizes"])
        columns = ("method", "sees", "after the mean", *sizes)
        found.append(harness.Table(caption, columns, [*_crowd_rows(crowd, keys)]))
    return found


def curves_of(plan: Any, cells: Cells) -> dict[str, np.ndarray]:
    """Return what `results.npz` holds: `lams [T]`, `METHOD/MEASURE` `[N, T]`."""
    found = {
        f"{name}/{measure}": cells["pairs", name][f"path/{measure}"]
        for name in plan.methods
        for measure in ("accuracy", "loss")
    }
    return {**found, "lams": np.linspace(0, 1, plan.num_points)}


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw accuracy and loss along paths, and the accuracy of means of crowds."""
    figures = {}
    if results["methods"]:
        figures["paths"] = _draw_paths(results["methods"], arrays)
    if "crowd" in results:
        figures["crowd"] = _draw_crowds(results["crowd"], results["columns"])
    return figures


def _pair_numbers(plan, name: str, parents, arrays) -> dict[str, Any]:
    method = _methods.METHODS[name]
    columns = {}
    for column in plan.columns:
        loss, accuracy = (arrays[f"{column.key}/{m}"] for m in ("loss", "accuracy"))
        columns[column.key] = {
            "accuracy": curves.number(accuracy),
            "loss": curves.number(loss),
            "drop": curves.number(parents - accuracy),
        }
    return {
        "label": _methods.label(name, plan.data.network.spec),
        "sees": method.sees,
        "is_exact": method.is_exact,
        "seconds_per_pair": float(arrays["seconds"]) / len(plan.pairs),
        "function_error": float(np.max(arrays["function_error"])),
        "loss": curves.summarize(arrays["path/loss"]),
        "error": curves.summarize(1 - arrays["path/accuracy"]),
        "columns": columns,
    }


def _crowd_numbers(plan, name: str, by_size: list[dict[str, Any]]) -> dict[str, Any]:
    method = _methods.METHODS[name]
    return {
        "label": _methods.label(name, plan.data.network.spec),
        "sees": method.sees,
        "is_exact": method.is_exact,
        "seconds_per_crowd": [
            float(arrays["seconds"]) / len(plan.crowds) for arrays in by_size
        ],
        "columns": {
            column.key: {
                measure: [
                    curves.number(arrays[f"{column.key}/{measure}"])
                    for arrays in by_size
                ]
                for measure in ("accuracy", "loss")
            }
            for column in plan.columns
        },
    }


def _path_rows(results: Mapping[str, Any]) -> Iterator[list[harness.Cell]]:
    accuracy, loss = (results["parents"][key] for key in ("accuracy", "loss"))
    number = harness.Number
    yield [
        *("(the two networks)", "-"),
        number(accuracy["mean"], ".2%", accuracy["se"]),
        "-",
        number(loss["mean"], ".4f", loss["se"]),
        *("-", "-", "-", "-"),
    ]
    for method in _methods.by_sight(results["methods"]):
        loss, error = method["loss"], method["error"]
        drop = accuracy["mean"] - (1 - error["middle"])
        yield [
            *(method["label"], method["sees"]),
            number(1 - error["middle"], ".2%", error["middle_se"]),
            number(drop, ".2%"),
            number(loss["middle"], ".4f", loss["middle_se"]),
            number(loss["barrier"], ".4f", loss["barrier_se"]),
            number(loss["auc"], ".4f", loss["auc_se"]),
            number(method["seconds_per_pair"], ".3f"),
            number(method["function_error"], ".1g"),
        ]


def _mean_rows(results: Mapping[str, Any]) -> Iterator[list[harness.Cell]]:
    for method in _methods.by_sight(results["methods"]):
        accuracies = (found["accuracy"] for found in method["columns"].values())
        cells = (harness.Number(x["mean"], ".2%", x["se"]) for x in accuracies)
        yield [method["label"], method["sees"], *cells]


def _crowd_rows(crowd: Mapping[str, Any], keys) -> Iterator[list[harness.Cell]]:
    lines = [((_MEMBERS, "-", "-"), crowd["members"])]
    lines += [
        (
            (method["label"], method["sees"], repairs.title(key)),
            method["columns"][key]["accuracy"],
        )
        for key in keys
        for method in _methods.by_sight(crowd["methods"])
    ]
    for names, numbers in lines:
        cells = [harness.Number(x["mean"], ".2%", x["se"]) for x in numbers]
        yield [*names, *cells]


def _draw_paths(methods: Mapping[str, Any], arrays: harness.Arrays):
    """Draw accuracy and loss along the path."""
    panels = {
        title: curves.of_methods(methods, arrays, measure)
        for measure, title in (("accuracy", "accuracy"), ("loss", "loss (nats)"))
    }
    return plots.mean_curves(
        panels,
        "λ (0: the worse network, 1: the better one)",
        num_columns=2,
        styles=_methods.styles(methods),
        log_scale=["loss (nats)"],
    )


def _draw_crowds(crowd: Mapping[str, Any], keys):
    """Draw the accuracy against the number of networks, a panel for each repair."""
    methods, sizes = crowd["methods"], np.array(crowd["sizes"])

    def curve(numbers: list[Mapping[str, Any]]) -> tuple[Any, Any, Any]:
        mean, error = (
            np.array([number[key] for number in numbers], float)
            for key in ("mean", "se")
        )
        return sizes, mean, error

    panels = {
        "as merged" if key == "none" else repairs.title(key): {
            _MEMBERS: curve(crowd["members"]),
            **{
                method["label"]: curve(method["columns"][key]["accuracy"])
                for method in methods.values()
            },
        }
        for key in keys
    }
    styles = {**_methods.styles(methods), _MEMBERS: plots.Style(plots.COLORS[6], 1)}
    return plots.mean_curves(
        panels, "networks", "accuracy", markers=True, styles=styles
    )
