"""Results of merging CNNs as numbers, tables and figures."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _cnn_crowds, _cnn_methods, _cnn_repair, _curves
from experiments.populations import _cnn_data
from symmerge_jax import plots

Cells = Mapping[str, dict[str, np.ndarray]]
"""Arrays of every piece of work, in the order of the report."""

_MEMBERS = "mean of the members"


def write(
    folder: pathlib.Path,
    config: harness.Config,
    data: _cnn_data.CnnData,
    pairs: np.ndarray,
    crowds: np.ndarray | None,
    cells: Cells,
) -> dict[str, Any]:
    """Write `results.json`, `results.npz` and the figures of an experiment.

    `results.npz` holds `lams [T]`, and `METHOD/REPAIR/MEASURE`, `[N, T]`.

    Args:
      folder: workdir of the run.
      config: of the run.
      data: the networks.
      pairs: `[N, 2]` rows of the networks.
      crowds: `[R, K]` rows of the networks, or None.
      cells: what was measured.

    Returns:
      What `results.json` holds: `pairs`, numbers in the zoo; `parents`, mean accuracy
      and loss of the paired networks; `methods`, each with its label, what it sees,
      seconds per pair, largest function error, and by repair the numbers of
      `_curves.summarize` of `loss` (nats) and `error` (1 - accuracy), and `drop`, by
      how much the accuracy of the midpoint is below that of the two networks; `crowd`,
      with accuracy and loss of the means by method, repair and size, and of `members`.
      Means have a standard error `se` over pairs or crowds.
    """
    alone = cells["networks"]
    results: dict[str, Any] = {
        "num_networks": len(data.number),
        "num_test_images": len(data.test_labels),
        "num_points": config.num_points,
        "pairs": data.number[pairs].tolist(),
        "methods": {},
    }
    if config.num_pairs:
        results["parents"] = {
            measure: _mean(alone[measure][pairs].mean(axis=1))
            for measure in ("accuracy", "loss")
        }
        results["methods"] = _pair_numbers(config, data, alone, pairs, cells)
        _draw_paths(folder, config, results, cells)
    if crowds is not None:
        results["crowd"] = _crowd_numbers(config, data, alone, crowds, cells)
        _draw_crowds(folder, results["crowd"])
    harness.write_json(folder / "results.json", results)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return tables of text: pairs in blocks by what a method sees, then crowds."""
    lines = []
    if results["methods"]:
        parents = results["parents"]
        lines += [
            f"{len(results['pairs'])} pairs, accuracy of the networks"
            f" {_percent(parents['accuracy'])} %, loss {_show(parents['loss'])}",
            _row("", ("mid acc %", "drop %", "mid loss", "barrier", "AUC", "s/pair",
                      "fn error")),
        ]  # fmt: skip
        lines += [line for block in _blocks(results) for line in block]
    if "crowd" in results:
        lines += ["", *_crowd_lines(results["crowd"])]
    return "\n".join(lines).strip("\n")


def _pair_numbers(config, data, alone, pairs, cells) -> dict[str, Any]:
    parents = alone["accuracy"][pairs].mean(axis=1)
    found = {}
    for name, arrays in _of(cells, "pairs"):
        method = _cnn_methods.METHODS[name]
        found[name] = {
            "label": _cnn_methods.label_of(name, data.network.spec),
            "uses_data": method.uses_data,
            "is_exact": method.is_exact,
            "seconds_per_pair": float(arrays["seconds"]) / len(pairs),
            "function_error": float(np.max(arrays["function_error"])),
            "repairs": {},
        }
        for repair in config.repairs:
            loss, accuracy = (arrays[f"{repair}/{m}"] for m in ("loss", "accuracy"))
            found[name]["repairs"][repair] = {
                "loss": _curves.summarize(loss),
                "error": _curves.summarize(1 - accuracy),
                "drop": _mean(parents - accuracy[:, config.num_points // 2]),
            }
    return found


def _crowd_numbers(config, data, alone, crowds, cells) -> dict[str, Any]:
    sizes = list(config.crowd.sizes)
    members = [
        _mean(alone["accuracy"][crowds[:, :size]].mean(axis=1)) for size in sizes
    ]
    methods: dict[str, Any] = {}
    for key, arrays in _of(cells, "crowd"):
        name, _, size = key.rpartition("_")
        del size  # they come in the order of `sizes`
        method = methods.setdefault(
            name,
            {
                "label": _cnn_crowds.METHODS[name].label,
                "is_exact": _cnn_crowds.METHODS[name].is_exact,
                "seconds_per_crowd": [],
                "repairs": {
                    repair: {"accuracy": [], "loss": []} for repair in config.repairs
                },
            },
        )
        method["seconds_per_crowd"].append(float(arrays["seconds"]) / len(crowds))
        for repair, measures in method["repairs"].items():
            for measure, values in measures.items():
                values.append(_mean(arrays[f"{repair}/{measure}"]))
    return {
        "sizes": sizes,
        "num_crowds": len(crowds),
        "members": members,
        "methods": methods,
    }


def _mean(values: np.ndarray) -> dict[str, Any]:
    mean, error = _curves.mean_and_error(values)
    return {"mean": float(mean), "se": None if np.isnan(error) else float(error)}


def _of(cells: Cells, kind: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield what follows `kind_` in the names of cells, and their arrays."""
    for key, arrays in cells.items():
        first, _, rest = key.partition("_")
        if first == kind:
            yield rest, arrays


def _blocks(results: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the lines of each block: weights only; with data; after each repair."""
    methods = results["methods"]
    for repair in next(iter(methods.values()))["repairs"]:
        for uses_data in (False, True) if repair == "none" else (None,):
            title = "weights only"
            if uses_data or repair != "none":
                title = "with training images"
            title += "" if repair == "none" else f": {_cnn_repair.REPAIRS[repair]}"
            lines = [f"-- {title}"]
            for method in methods.values():
                if uses_data in (None, method["uses_data"]):
                    lines.append(_method_row(method, method["repairs"][repair]))
            if len(lines) > 1:
                yield lines


def _method_row(method: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    loss, error, drop = (numbers[key] for key in ("loss", "error", "drop"))
    middle = {"mean": 1 - error["middle"], "se": error["middle_se"]}
    barrier = {"mean": loss["barrier"], "se": loss["barrier_se"]}
    values = (
        _percent(middle),
        _percent(drop),
        f"{loss['middle']:.4f}",
        _show(barrier),
        f"{round(loss['auc'], 4) + 0:.4f}",  # no minus before zero
        f"{method['seconds_per_pair']:.3f}",
        f"{method['function_error']:.1g}",
    )
    return _row(method["label"], values)


def _crowd_lines(crowd: Mapping[str, Any]) -> Iterator[str]:
    sizes, methods = crowd["sizes"], crowd["methods"]
    yield f"accuracy % of the mean of k networks, {crowd['num_crowds']} crowds"
    yield f"{'k':<32}" + "".join(f"{size:>14}" for size in sizes)
    rows = {"": {_MEMBERS: crowd["members"]}}
    for repair in next(iter(methods.values()))["repairs"]:
        title = "weights only"
        if repair != "none":
            title = f"with training images: {_cnn_repair.REPAIRS[repair]}"
        rows[f"-- {title}"] = {
            method["label"]: method["repairs"][repair]["accuracy"]
            for method in methods.values()
        }
    for title, lines in rows.items():
        if title:
            yield title
        for label, values in lines.items():
            yield f"{label:<32}" + "".join(f"{_percent(x):>14}" for x in values)


def _row(label: str, values: tuple[str, ...]) -> str:
    widths = (16, 16, 9, 17, 9, 9, 10)
    cells = [f"{value:>{width}}" for value, width in zip(values, widths, strict=True)]
    return f"{label:<32}{''.join(cells)}"


def _percent(number: Mapping[str, Any]) -> str:
    error = "" if number["se"] is None else f" ± {100 * number['se']:.2f}"
    return f"{100 * number['mean']:.2f}{error}"


def _show(number: Mapping[str, Any]) -> str:
    error = "" if number["se"] is None else f" ± {number['se']:.4f}"
    return f"{number['mean']:.4f}{error}"


def _draw_paths(folder, config, results, cells) -> None:
    """Draw accuracy and loss along the path, a row for each repair; save the curves."""
    lams = np.linspace(0, 1, config.num_points)
    labels = {name: method["label"] for name, method in results["methods"].items()}
    arrays, panels, loss_panels = {"lams": lams}, {}, []
    for repair in config.repairs:
        for measure, title in (("accuracy", "accuracy"), ("loss", "loss (nats)")):
            title = f"{title}, {_cnn_repair.REPAIRS[repair]}"
            panels[title] = {}
            loss_panels += [title] if measure == "loss" else []
            for name, found in _of(cells, "pairs"):
                curves = found[f"{repair}/{measure}"]
                arrays[f"{name}/{repair}/{measure}"] = curves
                panels[title][labels[name]] = (lams, *_curves.mean_and_error(curves))
    harness.save_arrays(folder / "results.npz", arrays)
    figure = plots.mean_curves(
        panels,
        "λ (0: the worse network, 1: the better one)",
        num_columns=2,
        log_scale=loss_panels,
    )
    plots.save_figure(figure, folder / "paths")


def _draw_crowds(folder, crowd: Mapping[str, Any]) -> None:
    """Draw the accuracy against the number of networks, a panel for each repair."""
    sizes = np.array(crowd["sizes"])
    panels: dict[str, Any] = {}
    for method in crowd["methods"].values():
        for repair, measures in method["repairs"].items():
            lines = panels.setdefault(_cnn_repair.REPAIRS[repair], {})
            lines.setdefault(_MEMBERS, (sizes, *_parts(crowd["members"])))
            lines[method["label"]] = (sizes, *_parts(measures["accuracy"]))
    figure = plots.mean_curves(panels, "networks", "accuracy", markers=True)
    plots.save_figure(figure, folder / "crowd")


def _parts(numbers: list[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    mean, error = (
        np.array([number[key] for number in numbers], float) for key in ("mean", "se")
    )
    return mean, error
