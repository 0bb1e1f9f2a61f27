"""Results of the failure-mode experiment as numbers, tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _inr_losses, _inr_paths, _methods, curves
from experiments.harness import Number
from symmerge_jax import plots, symmetry

PAIRS = {"farthest": "farthest twins", "random": "random twins"}
"""Which two twins of a network the ends of its path are, with a title."""

NUM_SHOWN = 9
"""Points of a path that are rendered."""

RENDERED = {"naive": "naive", "matching_best": "matched", "reconstruct": "decoded"}
"""Methods whose networks are rendered along the path, and how they are called there."""


def numbers(
    methods: Sequence[str], spec: symmetry.SymmetrySpec, arrays: harness.Arrays
) -> dict[str, Any]:
    """Return the results of an encoder, by kind of pair."""
    found = {}
    for kind in PAIRS:
        distance = arrays[f"{kind}/distance"]
        found[kind] = {
            "distance": {
                "mean": float(distance.mean()),
                "largest": float(distance.max()),
            },
            "pairs": arrays[f"{kind}/pairs"].tolist(),
            "methods": {},
        }
        for name in methods:
            of = harness.arrays_below(arrays, f"{kind}/{name}/")
            found[kind]["methods"][name] = {
                "label": _methods.label(name, spec),
                "recovered": _inr_paths.mean_recovered(of),
                **_inr_paths.measures_of(of),
            }
    return found


def drawn(found: Mapping[str, harness.Arrays]) -> dict[str, np.ndarray]:
    """Return the arrays of the figures: mean curves with their errors, renderings."""
    kept = {}
    for encoder, arrays in found.items():
        for name, array in arrays.items():
            part = name.rpartition("/")[2]
            if part == "rendered":
                kept[f"{encoder}/{name}"] = array
            elif part in _inr_losses.MEASURES:
                curve = np.stack(curves.mean_and_error(array))
                kept[f"{encoder}/{name}"] = curve
    return kept


def tables(results: harness.Results) -> list[harness.Table]:
    """Return one table: for each encoder both kinds of pairs, by method."""
    rows = [
        (
            *(encoder, PAIRS[kind].removesuffix(" twins")),
            Number(line[kind]["distance"]["mean"], ".1e"),
            Number(line[kind]["distance"]["largest"], ".1e"),
            method["label"],
            *_inr_paths.cells_of(method),
        )
        for encoder, line in results["encoders"].items()
        for kind in PAIRS
        for method in line[kind]["methods"].values()
    ]
    some = next(iter(results["encoders"].values()))["random"]["methods"]
    has_image = "image" in next(iter(some.values()))
    caption = (
        f"MSE to {'the image' if has_image else 'network a'} along the path between the"
        " twins whose latents are farthest apart, and between random ones;"
        f" {results['num_networks']} networks, {results['num_twins']}"
        f" {results['family']} twins each, noise {results['sigma']:g}"
    )
    columns = ("encoder", "twins", "distance of latents", "at most", "method")
    return [harness.Table(caption, (*columns, *_inr_paths.COLUMNS), rows)]


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw the losses along the paths, and networks on those of the first network."""
    if not arrays:
        return {}
    encoders = results["encoders"]
    figures = {}
    # A row for each kind of pair, or the two of an encoder side by side.
    places = [(kind, encoder) for kind in PAIRS for encoder in encoders]
    if len(encoders) > 3:
        places = [(kind, encoder) for encoder in encoders for kind in PAIRS]
    methods = next(iter(encoders.values()))["random"]["methods"]
    labels = {name: method["label"] for name, method in methods.items()}
    for measure, ylabel in _inr_losses.MEASURES.items():
        panels = {}
        for kind, encoder in places:
            lines = {}
            for name, label in labels.items():
                curve = arrays.get(f"{encoder}/{kind}/{name}/{measure}")
                if curve is not None:
                    lines[label] = (np.linspace(0, 1, curve.shape[1]), *curve)
            panels[f"{encoder}:\n{PAIRS[kind]}"] = lines
        if all(panels.values()):
            figures[f"paths_{measure}"] = plots.mean_curves(
                panels,
                _inr_losses.PATH,
                ylabel,
                num_columns=min(4, len(encoders)),
                styles={label: _methods.style(name) for name, label in labels.items()},
            )
    rows = {}
    for name, label in RENDERED.items():
        for encoder in encoders:
            rendered = arrays.get(f"{encoder}/farthest/{name}/rendered")
            if rendered is not None:
                # Other pairs of twins than the first encoder's look no different until
                # they are decoded.
                title = f"{label}:\n{encoder}" if name == "reconstruct" else label
                rows.setdefault(title, rendered)
    if rows:
        lams = np.linspace(0, 1, NUM_SHOWN)
        columns = [f"λ = {lam:.3g}" if lam == 0 else f"{lam:.3g}" for lam in lams]
        figures["renderings"] = plots.image_rows(list(rows.values()), [*rows], columns)
    return figures
