"""Results of merging CNNs as numbers, tables and figures."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _methods, _repair, curves
from symmerge_jax import plots

Cells = Mapping[tuple, dict[str, np.ndarray]]
"""Arrays of every piece of work: ("networks",), ("pairs", METHOD) and ("crowd", METHOD,
SIZE)."""

_MEMBERS = "mean of the members"


def summarize(plan: Any, cells: Cells) -> harness.Results:
    """Return the results of a run.

    Returns:
      `pairs`, numbers in the zoo; `parents`, mean accuracy and loss of the paired
      networks; `methods`, each with its label, what it sees, seconds per pair, largest
      function error, and by repair the numbers of `curves.summarize` of `loss` (nats)
      and `error` (1 - accuracy), and `drop`, by how much the accuracy of the midpoint
      is below that of the two networks; `crowd`, with accuracy and loss of the means by
      method, repair and size, and of `members`. Means have a standard error `se` over
      pairs or crowds.
    """
    alone = cells[("networks",)]
    results: dict[str, Any] = {
        "num_networks": len(plan.data.number),
        "num_test_images": len(plan.data.task.test.targets),
        "num_points": plan.num_points,
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
    """Return a table of pairs and one of crowds, or one of them."""
    found = []
    if results["methods"]:
        num = len(results["pairs"])
        caption = (
            f"{num} pair{'s' * (num > 1)} of CNNs that were trained independently,"
            f" {results['num_test_images']} test images; losses in nats, mid: halfway"
            " between the two"
        )
        columns = ("method", "sees", "repair", "mid acc %", "drop %", "mid loss")
        columns = (*columns, "barrier", "AUC", "s/pair", "function error")
        found.append(harness.Table(caption, columns, [*_pair_rows(results)]))
    if "crowd" in results:
        crowd = results["crowd"]
        caption = (
            f"accuracy in % of the mean of k networks, {crowd['num_crowds']} crowds"
        )
        columns = ("method", "sees", "repair", *(f"k = {k}" for k in crowd["sizes"]))
        found.append(harness.Table(caption, columns, [*_crowd_rows(crowd)]))
    return found


def curves_of(plan: Any, cells: Cells) -> dict[str, np.ndarray]:
    """Return what `results.npz` holds: `lams [T]`, `METHOD/REPAIR/MEASURE` `[N, T]`."""
    found = {
        f"{name}/{repair}/{measure}": cells["pairs", name][f"{repair}/{measure}"]
        for name in plan.methods
        for repair in plan.repairs
        for measure in ("accuracy", "loss")
    }
    return {**found, "lams": np.linspace(0, 1, plan.num_points)}


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw accuracy and loss along paths, and the accuracy of means of crowds."""
    figures = {}
    if results["methods"]:
        figures["paths"] = _draw_paths(results["methods"], arrays)
    if "crowd" in results:
        figures["crowd"] = _draw_crowds(results["crowd"])
    return figures


def _pair_numbers(plan, name: str, parents, arrays) -> dict[str, Any]:
    method, middle = _methods.METHODS[name], plan.num_points // 2
    repairs = {}
    for repair in plan.repairs:
        loss, accuracy = (arrays[f"{repair}/{m}"] for m in ("loss", "accuracy"))
        repairs[repair] = {
            "loss": curves.summarize(loss),
            "error": curves.summarize(1 - accuracy),
            "drop": curves.number(parents - accuracy[:, middle]),
        }
    return {
        "label": _methods.label(name, plan.data.network.spec),
        "sees": method.sees,
        "is_exact": method.is_exact,
        "seconds_per_pair": float(arrays["seconds"]) / len(plan.pairs),
        "function_error": float(np.max(arrays["function_error"])),
        "repairs": repairs,
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
        "repairs": {
            repair: {
                measure: [
                    curves.number(arrays[f"{repair}/{measure}"]) for arrays in by_size
                ]
                for measure in ("accuracy", "loss")
            }
            for repair in plan.repairs
        },
    }


def _pair_rows(results: Mapping[str, Any]) -> Iterator[list[harness.Cell]]:
    accuracy, loss = (results["parents"][key] for key in ("accuracy", "loss"))
    number = harness.Number
    yield [
        *("(the two networks)", "-", "-"),
        number(accuracy["mean"], ".2%", accuracy["se"]),
        "-",
        number(loss["mean"], ".4f", loss["se"]),
        *("-", "-", "-", "-"),
    ]
    for method, repair, sees in _rows(results["methods"]):
        numbers = method["repairs"][repair]
        loss, error, drop = (numbers[key] for key in ("loss", "error", "drop"))
        yield [
            *(method["label"], sees, repair),
            number(1 - error["middle"], ".2%", error["middle_se"]),
            number(drop["mean"], ".2%", drop["se"]),
            number(loss["middle"], ".4f", loss["middle_se"]),
            number(loss["barrier"], ".4f", loss["barrier_se"]),
            number(loss["auc"], ".4f", loss["auc_se"]),
            number(method["seconds_per_pair"], ".3f"),
            number(method["function_error"], ".1g"),
        ]


def _crowd_rows(crowd: Mapping[str, Any]) -> Iterator[list[harness.Cell]]:
    lines = [((_MEMBERS, "-", "-"), crowd["members"])]
    lines += [
        ((method["label"], sees, repair), method["repairs"][repair]["accuracy"])
        for method, repair, sees in _rows(crowd["methods"])
    ]
    for names, numbers in lines:
        cells = [harness.Number(x["mean"], ".2%", x["se"]) for x in numbers]
        yield [*names, *cells]


def _rows(methods: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Yield methods and repairs in the order of tables, and what the two have seen."""
    for repair in next(iter(methods.values()))["repairs"]:
        for method in _methods.by_sight(methods):
            yield method, repair, method["sees"] if repair == "none" else "data"


def _draw_paths(methods: Mapping[str, Any], arrays: harness.Arrays):
    """Draw accuracy and loss along the path, a row for each repair."""
    panels: dict[str, Any] = {}
    for repair in next(iter(methods.values()))["repairs"]:
        for measure, title in (("accuracy", "accuracy"), ("loss", "loss (nats)")):
            panels[f"{title}, {_repair.REPAIRS[repair]}"] = curves.of_methods(
                methods, arrays, f"{repair}/{measure}"
            )
    return plots.mean_curves(
        panels,
        "λ (0: the worse network, 1: the better one)",
        num_columns=2,
        styles=_methods.styles(methods),
        log_scale=[title for title in panels if title.startswith("loss")],
    )


def _draw_crowds(crowd: Mapping[str, Any]):
    """Draw the accuracy against the number of networks, a panel for each repair."""
    methods, sizes = crowd["methods"], np.array(crowd["sizes"])

    def curve(numbers: list[Mapping[str, Any]]) -> tuple[Any, Any, Any]:
        mean, error = (
            np.array([number[key] for number in numbers], float)
            for key in ("mean", "se")
        )
        return sizes, mean, error

    panels = {
        _repair.REPAIRS[repair]: {
            _MEMBERS: curve(crowd["members"]),
            **{
                method["label"]: curve(method["repairs"][repair]["accuracy"])
                for method in methods.values()
            },
        }
        for repair in next(iter(methods.values()))["repairs"]
    }
    styles = {**_methods.styles(methods), _MEMBERS: plots.Style(plots.COLORS[6], 1)}
    return plots.mean_curves(
        panels, "networks", "accuracy", markers=True, styles=styles
    )
