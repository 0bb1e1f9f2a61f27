"""Results of the interpolation experiment as numbers, tables and figures."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import harness, train
from experiments.compare import _inr_losses, _inr_paths, _methods, curves
from experiments.harness import Number
from experiments.populations import families
from symmerge_jax import plots, symmetry

_NOISE = "noise (standard deviation)"


class Cell(NamedTuple):
    """A method applied to a group of pairs.

    Attributes:
      family: of the pairs.
      sigma: noise on the second networks.
      method: a key of `_methods.METHODS`.
      encoder: name of the autoencoder; None for the one that all methods share.
    """

    family: str
    sigma: float
    method: str
    encoder: str | None = None

    @property
    def file_name(self) -> str:
        """The name of a file for the cell, without ending."""
        name = f"{self.family}_{self.sigma:g}_{self.method}"
        if self.encoder is None:
            return name
        return f"{name}_{train.file_name(self.encoder)}"

    @property
    def key(self) -> str:
        """The first part of names of arrays."""
        encoder = "" if self.encoder is None else f"@{self.encoder}"
        return f"{self.family}/{self.sigma:g}/{self.method}{encoder}"


def numbers(
    cell: Cell, spec: symmetry.SymmetrySpec, arrays: harness.Arrays
) -> dict[str, Any]:
    """Return the results of a cell."""
    return {
        "family": cell.family,
        "sigma": cell.sigma,
        "method": cell.method,
        **({} if cell.encoder is None else {"encoder": cell.encoder}),
        "label": _methods.label(cell.method, spec, cell.encoder),
        "num_pairs": len(arrays["row"]),
        "num_images": len(np.unique(arrays["row"])),
        "recovered": _inr_paths.mean_recovered(arrays),
        "seconds": float(arrays["seconds"]),
        **_inr_paths.measures_of(arrays, arrays["row"]),
    }


def mean_curves(cells: Mapping[Cell, harness.Arrays]) -> dict[str, np.ndarray]:
    """Return the mean curves of all cells, with their errors, by name."""
    found = {}
    for cell, arrays in cells.items():
        for measure in _inr_losses.MEASURES:
            if measure in arrays:
                losses = arrays[measure]
                mean, error = curves.mean_and_error(losses, arrays["row"])
                parts = {"mean": mean, "error": error, "std": losses.std(axis=0)}
                where = f"{cell.key}/{measure}"
                found |= {f"{where}/{part}": curve for part, curve in parts.items()}
                found["lams"] = np.linspace(0, 1, losses.shape[1])
    return found


def tables(results: harness.Results) -> list[harness.Table]:
    """Return a table of paths for each family and noise level."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for cell in results["cells"]:
        groups.setdefault(_title(cell), []).append(cell)
    return [
        harness.Table(
            f"{title}; MSE to {'the image' if 'image' in cells[0] else 'network a'}"
            " along the path",
            ("method", *_inr_paths.COLUMNS, "AUC", "largest to a", "seconds"),
            [
                (
                    cell["label"],
                    *_inr_paths.cells_of(cell),
                    Number(cell.get("image", cell["own"])["auc"]),
                    Number(cell["own"]["largest"], ".2g"),
                    harness.seconds(cell["seconds"]),
                )
                for cell in cells
            ],
        )
        for title, cells in groups.items()
    ]


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw the paths for each measure, and the barriers against the noise."""
    cells, figures = results["cells"], {}
    named = dict.fromkeys(cell["encoder"] for cell in cells if "encoder" in cell)
    encoders = {name: number for number, name in enumerate(named)}
    order, styles = list(_methods.METHODS), {}
    for cell in sorted(cells, key=lambda cell: order.index(cell["method"])):
        number = encoders.get(cell.get("encoder"))
        styles[cell["label"]] = _methods.style(cell["method"], number)
    look: Any = {"names": list(styles), "styles": styles}
    for measure, ylabel in _inr_losses.MEASURES.items():
        panels: dict[str, dict[str, Any]] = {}
        for cell in cells:
            where = Cell(*(cell.get(field) for field in Cell._fields)).key
            if f"{where}/{measure}/mean" in arrays:
                curve = (arrays[f"{where}/{measure}/{x}"] for x in ("mean", "error"))
                panel = panels.setdefault(_title(cell), {})
                panel[cell["label"]] = (arrays["lams"], *curve)
        if panels:
            figures[f"paths_{measure}"] = plots.mean_curves(
                panels,
                _inr_losses.PATH,
                ylabel,
                num_columns=2 if len(panels) == 4 else 3,
                **look,
            )
    measure = "image" if "image" in cells[0] else "own"
    if panels := _against_noise(cells, measure):
        figures["noise"] = plots.mean_curves(
            panels, _NOISE, _inr_losses.MEASURES[measure], markers=True, **look
        )
    return figures


def _title(cell: Mapping[str, Any]) -> str:
    return f"{families.title(cell['family'])}, noise {cell['sigma']:g}"


def _against_noise(cells, measure: str) -> dict[str, dict[str, Any]]:
    """Return curves over three noise levels or more, for families that have them."""
    points: dict[str, dict[str, list]] = {}
    for cell in cells:
        for number, what in (("barrier", "barrier"), ("middle", "middle of the path")):
            title = f"{families.title(cell['family'])}: {what}"
            numbers = (cell[measure][name] for name in (number, f"{number}_se"))
            lines = points.setdefault(title, {})
            lines.setdefault(cell["label"], []).append((cell["sigma"], *numbers))
    return {
        title: {name: tuple(np.array(sorted(line)).T) for name, line in lines.items()}
        for title, lines in points.items()
        if min(map(len, lines.values())) >= 3
    }
