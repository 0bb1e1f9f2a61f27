"""Results of the interpolation experiment as numbers, table and figures."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _curves, _interpolation, _interpolation_methods
from symmerge_jax import plots

Cell = _interpolation_methods.Cell

Cells = Mapping[Cell, dict[str, np.ndarray]]
"""Arrays of every cell, in the order of the report."""

_PATH = "λ (0: network a, 1: b)"
_NOISE = "noise (standard deviation)"


def write(folder: pathlib.Path, cells: Cells) -> dict[str, Any]:
    """Write `results.json`, `results.npz` and the figures of an experiment.

    `results.npz` holds `lams [T]` and, as `FAMILY/SIGMA/METHOD/MEASURE/...` (the method
    followed by `@` and an autoencoder if it is done with several), `mean`,
    `error` (standard error over images) and `std` (over all pairs), each `[T]`.

    Args:
      folder: workdir of the run.
      cells: losses `[N, T]` by measure, `row` and `seconds`, and `recovered` where that
        means something.

    Returns:
      What `results.json` holds.
    """
    results = {"cells": [_numbers(cell, arrays) for cell, arrays in cells.items()]}
    curves, arrays = {}, {}
    for cell, found in cells.items():
        method = (
            cell.method if cell.encoder is None else f"{cell.method}@{cell.encoder}"
        )
        for measure in _measures(found):
            losses = found[measure]
            lams = np.linspace(0, 1, losses.shape[1])
            mean, error = _curves.mean_and_error(losses, found["row"])
            curves[cell, measure] = (lams, mean, error)
            where = f"{cell.family}/{cell.sigma:g}/{method}/{measure}"
            parts = {"mean": mean, "error": error, "std": losses.std(axis=0)}
            arrays |= {f"{where}/{part}": values for part, values in parts.items()}
            arrays["lams"] = lams
    harness.save_arrays(folder / "results.npz", arrays)
    harness.write_json(folder / "results.json", results)
    _draw(folder, results, curves)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return a table of text for each family and noise level.

    Columns: mean loss at both ends and the middle, barrier with its standard error, AUC
    (against the image if there is one, else against network a), the barrier and the
    largest loss against what network a renders, pairs aligned exactly, seconds.
    """
    lines = []
    group = None
    for cell in results["cells"]:
        measure = "image" if "image" in cell else "own"
        if group != (group := (cell["family"], cell["sigma"])):
            lines += ["", _title(*group), _header(measure)]
        main, own = cell[measure], cell["own"]
        recovered = cell["recovered"]
        values = [
            *(f"{main[name]:.4f}" for name in ("start", "middle", "end")),
            f"{main['barrier']:.4f} ± {main['barrier_se']:.4f}",
            f"{round(main['auc'], 4) + 0:.4f}",  # no minus before zero
            f"{own['barrier']:.2g}",
            f"{own['largest']:.2g}",
            "-" if recovered is None else f"{100 * recovered:.1f}",
            f"{cell['seconds']:.1f}",
        ]
        lines.append(_row(cell["label"], values))
    return "\n".join(lines[1:])


def _header(measure: str) -> str:
    compared = "loss to image" if measure == "image" else "loss to a"
    return _row(
        compared,
        [
            *("start", "middle", "end", "barrier", "AUC"),
            *("barrier to a", "largest to a", "exact %", "seconds"),
        ],
    )


def _row(label: str, values: list[str]) -> str:
    widths = (8, 8, 8, 17, 9, 13, 13, 9, 9)
    cells = [f"{value:>{width}}" for value, width in zip(values, widths, strict=True)]
    return f"{label:<26}{''.join(cells)}"


def _title(family: str, sigma: float) -> str:
    return f"{_kind(family)}, noise {sigma:g}"


def _kind(family: str) -> str:
    return "separate fits" if family == "fits" else f"{family} orbit"


def _measures(arrays: Mapping[str, Any]) -> list[str]:
    return [name for name in _interpolation.MEASURES if name in arrays]


def _numbers(cell: Cell, arrays) -> dict[str, Any]:
    recovered = arrays.get("recovered")
    return {
        "family": cell.family,
        "sigma": cell.sigma,
        "method": cell.method,
        **({} if cell.encoder is None else {"encoder": cell.encoder}),
        "label": cell.label,
        "num_pairs": len(arrays["row"]),
        "num_images": len(np.unique(arrays["row"])),
        "recovered": None if recovered is None else float(recovered.mean()),
        "seconds": float(arrays["seconds"]),
        **{
            measure: _curves.summarize(arrays[measure], arrays["row"])
            for measure in _measures(arrays)
        },
    }


def _draw(folder: pathlib.Path, results, curves) -> None:
    """Draw the paths for each measure, and the barriers against the noise."""
    named = [cell["encoder"] for cell in results["cells"] if "encoder" in cell]
    encoders = dict.fromkeys(named)
    methods = _interpolation_methods.METHODS
    names = [
        _interpolation_methods.label_of(*pair)
        for pair in _interpolation_methods.with_encoders(tuple(methods), encoders)
    ]
    for measure, ylabel in _interpolation.MEASURES.items():
        panels = {}
        for (cell, of), curve in curves.items():
            if of == measure:
                title = _title(cell.family, cell.sigma)
                panels.setdefault(title, {})[cell.label] = curve
        if panels:
            columns = 2 if len(panels) == 4 else 3
            figure = plots.mean_curves(
                panels, _PATH, ylabel, names=names, num_columns=columns
            )
            plots.save_figure(figure, folder / f"paths_{measure}")
    measure = "image" if "image" in results["cells"][0] else "own"
    if panels := _against_noise(results["cells"], measure):
        figure = plots.mean_curves(
            panels, _NOISE, _interpolation.MEASURES[measure], names=names, markers=True
        )
        plots.save_figure(figure, folder / "noise")


def _against_noise(cells, measure: str) -> dict[str, dict[str, Any]]:
    """Return curves over three noise levels or more, for families that have them."""
    points: dict[str, dict[str, list]] = {}
    for cell in cells:
        for number, what in (("barrier", "barrier"), ("middle", "middle of the path")):
            title = f"{_kind(cell['family'])}: {what}"
            numbers = (cell[measure][name] for name in (number, f"{number}_se"))
            lines = points.setdefault(title, {})
            lines.setdefault(cell["label"], []).append((cell["sigma"], *numbers))
    return {
        title: {name: tuple(np.array(sorted(line)).T) for name, line in lines.items()}
        for title, lines in points.items()
        if min(map(len, lines.values())) >= 3
    }
