"""Results of the failure-mode experiment as numbers, table and figures."""

import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.compare import _curves, _interpolation, _interpolation_methods
from experiments.train import _trained
from symmerge_jax import plots

Cells = Mapping[str, Mapping[str, np.ndarray]]
"""By encoder, everything that was measured with it."""

PAIRS = {"farthest": "farthest twins", "random": "random twins"}
"""Which two twins of a network the ends of its path are, with a title."""

NUM_SHOWN = 9
"""Points of a path that are drawn."""

_RENDERED = {"naive": "naive", "matching_best": "matched", "reconstruct": "decoded"}
"""Methods whose networks are drawn along the path, and how they are called there."""

_PATH = "λ (0: network a, 1: b)"


def write(
    folder: pathlib.Path,
    config: harness.Config,
    encoders: list[_trained.TrainedRun],
    found: Cells,
) -> dict[str, Any]:
    """Write `results.json` and the figures of an experiment.

    Args:
      folder: workdir of the run.
      config: keys of `failure_mode.default_config`.
      encoders: those that are compared.
      found: what was measured, see `failure_mode`.

    Returns:
      What `results.json` holds.
    """
    results: dict[str, Any] = {
        "family": config.family,
        "sigma": config.sigma,
        "num_networks": config.num_networks,
        "num_twins": config.num_twins,
        "encoders": {
            encoder.name: {
                "workdir": str(encoder.folder),
                **{kind: _numbers(config, found[encoder.name], kind) for kind in PAIRS},
            }
            for encoder in encoders
        },
    }
    harness.write_json(folder / "results.json", results)
    _draw_paths(folder, config, found)
    _draw_renderings(folder, config, found)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return the results of `run` as lines of text, a block for each encoder."""
    lines = [
        f"{results['num_networks']} networks, {results['num_twins']}"
        f" {results['family']} twins each, noise {results['sigma']:g}"
    ]
    for name, of_encoder in results["encoders"].items():
        for kind, title in PAIRS.items():
            found = of_encoder[kind]
            has_image = "image" in next(iter(found["methods"].values()))
            measure = "image" if has_image else "own"
            lines += [
                "",
                f"{name}: {title}, distance of latents (1 - cos)"
                f" {found['distance']['mean']:.2g}, at most"
                f" {found['distance']['largest']:.2g}",
                _row(
                    f"MSE to {'the image' if has_image else 'network a'}",
                    ("start", "middle", "end", "barrier", "barrier to a", "exact %"),
                ),
            ]
            for method in found["methods"].values():
                main, own, exact = (method[x] for x in (measure, "own", "recovered"))
                error = main["barrier_se"]
                error = "" if error is None else f" ± {error:.4f}"
                values = (
                    *(f"{main[key]:.4f}" for key in ("start", "middle", "end")),
                    f"{main['barrier']:.4f}{error}",
                    f"{own['barrier']:.2g}",
                    "-" if exact is None else f"{100 * exact:.0f}",
                )
                lines.append(_row(method["label"], values))
    return "\n".join(lines)


def _numbers(config, arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, Any]:
    distance = arrays[f"{kind}/distance"]
    methods = {}
    for name in config.methods:
        recovered = arrays.get(f"{kind}/{name}/recovered")
        methods[name] = {
            "label": _interpolation_methods.METHODS[name].label,
            "recovered": None if recovered is None else float(recovered.mean()),
            **{
                measure: _curves.summarize(arrays[f"{kind}/{name}/{measure}"])
                for measure in _interpolation.MEASURES
                if f"{kind}/{name}/{measure}" in arrays
            },
        }
    return {
        "distance": {
            "mean": float(distance.mean()),
            "largest": float(distance.max()),
        },
        "pairs": arrays[f"{kind}/pairs"].tolist(),
        "methods": methods,
    }


def _draw_paths(folder, config, found: Cells) -> None:
    """Draw the losses along the paths: a panel for each encoder and kind of pair."""
    lams = np.linspace(0, 1, config.num_points)
    labels = {
        name: _interpolation_methods.METHODS[name].label for name in config.methods
    }
    # A row for each kind of pair, or the two of an encoder side by side.
    places = [(kind, encoder) for kind in PAIRS for encoder in found]
    if len(found) > 3:
        places = [(kind, encoder) for encoder in found for kind in PAIRS]
    for measure, ylabel in _interpolation.MEASURES.items():
        panels = {
            f"{textwrap.fill(encoder, 22)}:\n{PAIRS[kind]}": {
                label: (lams, *_curves.mean_and_error(curves))
                for name, label in labels.items()
                if (curves := found[encoder].get(f"{kind}/{name}/{measure}"))
                is not None
            }
            for kind, encoder in places
        }
        if all(panels.values()):
            figure = plots.mean_curves(
                panels, _PATH, ylabel, num_columns=min(4, len(found))
            )
            plots.save_figure(figure, folder / f"paths_{measure}")


def _draw_renderings(folder, config, found: Cells) -> None:
    """Draw what lies on the paths between the farthest twins of the first network."""
    rows, labels = [], []
    for encoder, arrays in found.items():
        for name, label in _RENDERED.items():
            if name in config.methods:
                rows.append(arrays[f"farthest/{name}/rendered"])
                labels.append(f"{encoder}:\n{label}")
    if rows:
        lams = np.linspace(0, 1, NUM_SHOWN)
        columns = [f"λ = {lam:.3g}" if lam == 0 else f"{lam:.3g}" for lam in lams]
        figure = plots.image_rows(rows, labels, columns)
        plots.save_figure(figure, folder / "renderings")


def _row(label: str, values: tuple[str, ...]) -> str:
    widths = (9, 9, 9, 18, 14, 9)
    cells = [f"{value:>{width}}" for value, width in zip(values, widths, strict=True)]
    return f"{label:<26}{''.join(cells)}"
