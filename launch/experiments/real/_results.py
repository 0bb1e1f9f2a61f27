"""Results of merging real networks as numbers, tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import curves, repairs
from experiments.real import _bring
from symmerge_jax import plots

Cells = Mapping[tuple, Mapping[str, np.ndarray]]
"""Arrays of every piece of work, as `merge_networks.run` lists them."""


def summarize(plan: Any, cells: Cells) -> harness.Results:
    """Return the results of a run.

    Returns:
      `networks`, each with its `name`, `accuracy` and `loss`, and with `statistics`
      re-estimated; `sizes`, by number of merged networks `parents` (as they are, and
      re-estimated), `ensemble` and `methods`, whose `columns` have `accuracy`, `loss`,
      distances `to_parents` and `to_ensemble` in units of the distance between the
      parents, `path`, by method and column, and `partial`, by method the scores and
      the `size` of partial merges at `shares`. Every number is a `mean` with its
      standard error `se`: over groups, or over test examples for one group.
    """
    subject = plan.subject
    alone = [cells["network", number] for number in range(len(subject.names))]
    again = [harness.arrays_below(cell, "statistics/") for cell in alone]
    results: dict[str, Any] = {
        "family": plan.family,
        "score_name": subject.score_name,
        "num_test": len(subject.test.targets),
        "num_unlabelled": len(subject.unlabelled),
        "num_groups": len(plan.groups),
        "networks": [
            {
                "name": name,
                **_scores([alone[row]]),
                "statistics": _scores([again[row]]) if again[row] else None,
            }
            for row, name in enumerate(subject.names)
        ],
        "columns": [column.key for column in plan.columns],
        "sizes": {},
    }
    for size in subject.sizes:
        groups = range(len(plan.groups))
        results["sizes"][str(size)] = {
            "parents": {
                key: _scores([_mean(found, plan.groups[g, :size]) for g in groups])
                for key, found in (("none", alone), ("statistics", again))
                if found[0]
            },
            "ensemble": _cell([cells["ensemble", size, g] for g in groups]),
            "methods": {
                name: _method(plan, cells, size, name, groups) for name in plan.methods
            },
        }
    if plan.path_methods:
        results["path"] = {
            name: {
                column.key: _path(cells["path", plan.num_points, name, column])
                for column in plan.path_columns
            }
            for name in plan.path_methods
        }
    if plan.partial_methods:
        results["shares"] = list(plan.shares)
        results["partial"] = {
            name: [_partial(cells["partial", name, share]) for share in plan.shares]
            for name in plan.partial_methods
        }
    return results


def tables(results: harness.Results) -> list[harness.Table]:
    """Return networks, and by size accuracies, losses and distances."""
    found = [_networks_table(results)]
    forms = (("accuracy", f"{results['score_name']} in %", ".2%"),)
    forms = (*forms, ("loss", "loss in nats", ".4g"))
    for size in results["sizes"]:
        found += [_table(results, size, *form) for form in forms]
        found.append(_distance_table(results, size))
    if "partial" in results:
        found.append(_partial_table(results))
    return found


def curves_of(plan: Any, cells: Cells) -> dict[str, np.ndarray]:
    """Return what `results.npz` holds: `lams [T]`, `METHOD/COLUMN/MEASURE` `[T]`."""
    found = {
        f"{name}/{column.key}/{measure}": curve
        for name in plan.path_methods
        for column in plan.path_columns
        for measure, curve in cells["path", plan.num_points, name, column].items()
    }
    return {**found, "lams": np.linspace(0, 1, plan.num_points)}


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw accuracy and loss along the paths, a row for each repair."""
    if "path" not in results:
        return {}
    panels: dict[str, Any] = {}
    names = {"accuracy": results["score_name"], "loss": "loss (nats)"}
    for key in next(iter(results["path"].values())):
        for measure, name in names.items():
            text = "as merged" if key == "none" else repairs.title(key)
            panels[f"{name}, {text}"] = {
                _bring.METHODS[method].label: (
                    arrays["lams"],
                    arrays[f"{method}/{key}/{measure}"],
                    arrays[f"{method}/{key}/{measure}_se"],
                )
                for method in results["path"]
            }
    first, second = (network["name"] for network in results["networks"][:2])
    return {
        "paths": plots.mean_curves(
            panels,
            f"λ (0: {first}, 1: {second})",
            num_columns=2,
            styles={
                _bring.METHODS[name].label: _bring.METHODS[name].style
                for name in results["path"]
            },
            log_scale=[text for text in panels if text.startswith("loss")],
        )
    }


def _method(plan, cells: Cells, size: int, name: str, groups) -> dict[str, Any]:
    method = _bring.METHODS[name]
    by_column = {
        column.key: [cells["merged", size, g, name, column] for g in groups]
        for column in plan.columns
    }
    seconds = [cell["seconds"] for cell in next(iter(by_column.values()))]
    return {
        "label": method.label,
        "sees": method.sees,
        "seconds": float(np.mean(seconds)),
        "columns": {key: _cell(found) for key, found in by_column.items()},
    }


def _cell(groups: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    to_parents = np.array([group["to_parents"] for group in groups])
    return {
        **_scores(groups),
        "to_parents": [curves.number(column) for column in to_parents.T],
        "to_ensemble": curves.number([group["to_ensemble"] for group in groups]),
    }


def _scores(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracy and loss with errors over groups, or over examples for one."""
    found = {}
    for measure in ("accuracy", "loss"):
        found[measure] = curves.number([group[measure] for group in groups])
        if len(groups) == 1:
            found[measure]["se"] = float(groups[0][f"{measure}_se"])
    return found


def _mean(cells: Sequence[Mapping[str, Any]], rows: np.ndarray) -> dict[str, Any]:
    """Return the means of the measures of some networks."""
    keys = [key for key in cells[0] if "/" not in key]
    return {key: np.mean([cells[row][key] for row in rows]) for key in keys}


def _path(cell: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return barrier of the loss, and the lowest accuracy with its place."""
    loss, accuracy = cell["loss"], cell["accuracy"]
    lowest = int(accuracy.argmin())
    return {
        "barrier": curves.summarize(loss[None])["barrier"],
        "lowest_accuracy": float(accuracy[lowest]),
        "lowest_at": lowest / (len(loss) - 1),
    }


def _partial(cell: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"size": float(cell["size"]), **_scores([cell])}


def _partial_table(results: Mapping[str, Any]) -> harness.Table:
    """Return the score of partial merges, rows the methods, columns the shares."""
    rows = [
        [
            _bring.METHODS[name].label,
            *(_number(cell["accuracy"], ".2%") for cell in cells),
        ]
        for name, cells in results["partial"].items()
    ]
    first = next(iter(results["partial"].values()))
    columns = (
        f"{share:.0%} ({cell['size']:.2f} x)"
        for share, cell in zip(results["shares"], first, strict=True)
    )
    caption = (
        f"{results['score_name']} in % by the share of neurons that are kept apart (and"
        " the size, in networks)"
    )
    return harness.Table(caption, ("method", *columns), rows)


def _networks_table(results: Mapping[str, Any]) -> harness.Table:
    score = results["score_name"]
    columns = ("network", f"{score} %", "loss")
    columns = (*columns, f"{score} %, re-estimated", "loss, re-estimated")
    rows = [
        [
            network["name"],
            *_pair(network),
            *(_pair(again) if (again := network["statistics"]) else ("-", "-")),
        ]
        for network in results["networks"]
    ]
    caption = (
        f"{results['family']}: networks as they are, and with statistics re-estimated;"
        f" {results['num_test']} test examples, {results['num_unlabelled']} unlabelled"
    )
    return harness.Table(caption, columns, rows)


def _pair(scores: Mapping[str, Any]) -> list[harness.Cell]:
    return [_number(scores["accuracy"], ".2%"), _number(scores["loss"], ".4g")]


def _number(found: Mapping[str, Any] | None, form: str) -> harness.Cell:
    if found is None:
        return "-"
    return harness.Number(found["mean"], form, found["se"])


def _table(results, size: str, measure: str, name: str, form: str) -> harness.Table:
    """Return one measure, rows the methods, columns what is done after the mean."""
    found, keys = results["sizes"][size], results["columns"]
    parents = found["parents"]
    rows: list[list[harness.Cell]] = [
        [
            *("(parents)", "-"),
            *(_number(parents.get(key, {}).get(measure), form) for key in keys),
            "-",
        ],
        [
            *("(ensemble)", "-"),
            *(
                _number(found["ensemble"][measure] if key == "none" else None, form)
                for key in keys
            ),
            "-",
        ],
    ]
    for sees in ("weights", "data"):
        for method in found["methods"].values():
            if method["sees"] == sees:
                cells = [_number(method["columns"][key][measure], form) for key in keys]
                seconds = harness.seconds(method["seconds"])
                rows.append([method["label"], sees, *cells, seconds])
    columns = ("method", "sees", *map(repairs.title, keys), "s")
    groups = results["num_groups"]
    caption = f"{name} of {size} networks merged into one, {groups} group"
    errors = "test examples" if groups == 1 else "groups"
    caption += f"{'s' * (groups > 1)}; errors are those over {errors}"
    return harness.Table(caption, columns, rows)


def _distance_table(results: Mapping[str, Any], size: str) -> harness.Table:
    """Return how far merged outputs are from those of each parent and the ensemble."""
    found = results["sizes"][size]
    lines = [("(ensemble)", "-", found["ensemble"])]
    lines += [
        (method["label"], repairs.title(key), method["columns"][key])
        for method in found["methods"].values()
        for key in results["columns"]
    ]
    rows = [
        [
            *(label, text),
            *(_number(number, ".3g") for number in cell["to_parents"]),
            _number(cell["to_ensemble"], ".3g"),
        ]
        for label, text, cell in lines
    ]
    caption = (
        f"distance of outputs of {size} networks merged into one: mean total variation"
        " as a share of that between the parents"
    )
    parents = [f"to parent {number + 1}" for number in range(int(size))]
    return harness.Table(
        caption, ("method", "after the mean", *parents, "to the ensemble"), rows
    )
