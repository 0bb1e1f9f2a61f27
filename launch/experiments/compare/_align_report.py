"""Tables and figures of learned alignment."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from experiments import harness
from experiments.compare import (
    _align_crowds,
    _align_evaluation,
    _align_methods,
    _curves,
)
from experiments.populations import _align_population
from symmerge_jax import plots

Cells = dict[tuple[str, str, int], dict[str, np.ndarray]]

_AVERAGED = (
    "num_steps",
    "best_step",
    "val_loss",
    "seconds_per_step",
    "twins",
    "changed_twins",
)
"""What is known of the training of a matcher; a run of one step has no seconds."""

_TITLES = {
    "held_out": "held-out networks",
    "rotated": "images turned by 90 degrees",
    "other_data": "networks trained on {source}",
    "other_width": "networks of widths {sizes}",
}


def write(
    folder: pathlib.Path,
    config: harness.Config,
    populations: Mapping[str, _align_population.Population],
    cells: Cells,
    models: Mapping[tuple[str, int], Any],
    crowds: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `results.json`, `results.npz` and the figure of paths.

    Args:
      folder: of the run.
      config: keys of `deep_align.default_config`.
      populations: by name.
      cells: curves `[N, T]`, `seconds` and `function_error`, by population, method and
        seed.
      models: trained matchers by name and seed.
      crowds: what `_align_crowds.compare` returns, or nothing.

    Returns:
      What `results.json` holds: `models`, with sizes, steps, seconds per step and the
      fraction of neurons found again in twins, means over seeds; `populations`, each
      with its title and `methods`: label, block, and the numbers of
      `_align_evaluation.summarize`, seconds per pair and the largest function error.
    """
    results: dict[str, Any] = {
        "networks": config.networks,
        "architecture": dict(populations["held_out"].architecture),
        "num_train": len(populations["held_out"].parts["train"]),
        "seeds": list(config.seeds),
        "num_points": config.num_points,
        "models": {name: _model(config, name, models) for name in config.models},
        "populations": {},
        "crowds": dict(crowds),
    }
    for name, population in populations.items():
        found = {
            method: _numbers(population, method, rows)
            for method, rows in _by_method(cells, name)
        }
        title = _TITLES[name].format(
            source=config.other_data.source,
            sizes=", ".join(map(str, config.other_width.hidden_sizes)),
        )
        counts = [len(rows[0]["loss"]) for _, rows in _by_method(cells, name)]
        results["populations"][name] = {
            "title": title,
            "num_networks": len(population.parts["test"]),
            "num_pairs": counts[0],
            "methods": found,
        }
        _draw(folder, config, name, population, cells)
    harness.write_json(folder / "results.json", results)
    arrays: dict[str, Any] = {
        f"{'/'.join(map(str, job))}/{key}": value
        for job, cell in cells.items()
        for key, value in cell.items()
    }
    harness.save_arrays(folder / "results.npz", arrays)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return one table for each population, in blocks by what methods see."""
    lines = list(_model_lines(results))
    for population in results["populations"].values():
        lines += ["", *_population_lines(population, len(results["seeds"]))]
    if results["crowds"]:
        lines += ["", *_align_crowds.lines(results["crowds"])]
    return "\n".join(lines)


def _model(config, name, models) -> dict[str, Any]:
    trained = [models[name, seed] for seed in config.seeds]
    weights = jax.tree.leaves(trained[0].variables)
    metadata = [one.metadata for one in trained]
    return {
        "features": config[name].features.kind,
        "num_parameters": sum(int(np.size(x)) for x in weights),
        **{
            key: float(np.mean([one[key] for one in metadata]))
            for key in _AVERAGED
            if key in metadata[0]
        },
    }


def _by_method(cells: Cells, population: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield each method and its cells of all seeds."""
    found: dict[str, list[Any]] = {}
    for (name, method, _), cell in cells.items():
        if name == population:
            found.setdefault(method, []).append(cell)
    yield from found.items()


def _numbers(population, method: str, rows: list[Any]) -> dict[str, Any]:
    known = _align_methods.METHODS[method]
    return {
        "label": _align_methods.label_of(method, population.network.spec),
        "block": known.block,
        **_align_evaluation.summarize(rows),
        "seconds_per_pair": float(np.mean([row["seconds"] for row in rows])),
        "function_error": float(np.max([row["function_error"].max() for row in rows])),
    }


def _model_lines(results) -> Iterator[str]:
    for name, model in results["models"].items():
        yield (
            f"{name}: {model['features']}, {model['num_parameters']:,} parameters,"
            f" {model['num_steps']:.0f} steps on {results['num_train']} networks; finds"
            f" {model['twins']:.2%} of the neurons of twins,"
            f" {model['changed_twins']:.2%} if they are changed"
        )


def _population_lines(population, num_seeds: int) -> Iterator[str]:
    methods = population["methods"].values()
    yield (
        f"{population['title']}: {num_seeds} x {population['num_pairs']} pairs of"
        f" {population['num_networks']} networks"
    )
    columns = {"barrier": "{:.4f}", "auc": "{:.4f}", "middle": "{:.4f}"}
    titles = ["barrier", "AUC", "mid loss"]
    if "accuracy" in next(iter(methods)):
        columns["accuracy"] = "{:.2%}"
        titles.append("mid acc %")
    width = max(len(method["label"]) for method in methods) + 2
    titles = "".join(f"{title:>18}" for title in titles)
    yield f"{'':<{width}}{titles}{'ms/pair':>11}{'fn error':>10}"
    for block, title in _align_methods.BLOCKS.items():
        rows = [method for method in methods if method["block"] == block]
        if rows:
            yield f"-- {title}"
        for method in rows:
            cells = [_cell(method, key, form) for key, form in columns.items()]
            cells = "".join(f"{cell:>18}" for cell in cells)
            yield (
                f"{method['label']:<{width}}{cells}"
                f"{1000 * method['seconds_per_pair']:>11.2f}"
                f"{method['function_error']:>10.1g}"
            )


def _cell(method, key: str, form: str) -> str:
    value, std = method[key] + 0, method[f"{key}_std"]
    text = form.format(value).rstrip("%")
    return text if std is None else f"{text} ± {form.format(std).rstrip('%')}"


def _draw(folder, config, name, population, cells) -> None:
    """Draw the loss along paths, a panel for each block of methods."""
    lams = np.linspace(0, 1, config.num_points)
    panels: dict[str, Any] = {}
    for method, rows in _by_method(cells, name):
        title = _align_methods.BLOCKS[_align_methods.METHODS[method].block]
        label = _align_methods.label_of(method, population.network.spec)
        curves = np.concatenate([row["loss"] for row in rows])
        panel = panels.setdefault(title, {})
        panel[label] = (lams, *_curves.mean_and_error(curves))
    unit = "mean squared error" if config.networks == "siren" else "test loss (nats)"
    figure = plots.mean_curves(panels, "λ", unit, log_scale=list(panels))
    plots.save_figure(figure, folder / f"paths_{name}")
