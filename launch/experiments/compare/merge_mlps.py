"""Train pairs of MLP classifiers apart, align them, and measure what lies between them.

The experiment of Ainsworth et al. 2023 (*Git Re-Basin*, arXiv 2209.04836, figure 2)
with more methods: networks of the same task and architecture that differ in their
initialisation and the order of the data are joined by straight paths in weight space.
Methods that see nothing but the weights are kept apart from those that see training
data. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    metrics.jsonl, checkpoints/  losses by epoch; for resuming
    networks/0.safetensors ...   the trained networks, for `launch/merge.py`
    alignments/                  what each method found, kept for the next start
    results.json, results.npz    measures, and all curves
    paths                        the curves, as .png and .pdf
"""

import os
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.compare import _curves, _mlp_methods, _mlp_paths
from experiments.populations import _mlp_training
from symmerge_jax import alignment, networks, plots

MAY_CHANGE: tuple[str, ...] = (
    "methods",
    "num_points",
    *(f"{name}.{key}" for name, keys in _mlp_methods.OPTIONS.items() for key in keys),
)
"""Keys that do not touch the training: what is done with the networks."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_mlps.py` for runs.

    `training` are the fields of `zoo.ClassifierOptions`. `methods` are keys of
    `_mlp_methods.METHODS`; a group named like a method holds options of its solver.
    """
    return ConfigDict(
        {
            "experiment": "merge_mlps",
            "seed": 0,
            "num_pairs": 1,
            "data": {
                "source": "digits",
                "dir": config_dict.placeholder(str),
                "num_images": config_dict.placeholder(int),
                "test_fraction": 0.2,
            },
            "architecture": {
                "hidden_sizes": (32, 32),
                "activation": "relu",
                "use_bias": True,
            },
            "training": {
                "num_epochs": 100,
                "batch_size": 500,
                "learning_rate": 1e-3,
                "schedule": "constant",
                "weight_decay": 0.0,
            },
            "methods": tuple(_mlp_methods.METHODS),
            **_mlp_methods.OPTIONS,
            "num_points": 25,
            "log_every": 10,
            "checkpoint_every": 10,
            "keep_checkpoints": 1,
        }
    )


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Train the pairs, align them by every method, and measure the paths.

    A run that was stopped goes on where it was: at the epoch of the training, or at the
    method that comes next. Methods and their options may be changed between starts.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds: by network its loss (nats) and accuracy; by method the
      means over pairs of `_mlp_paths.summary`, their standard errors where there are
      several pairs, seconds, and the solver's objective.

    Raises:
      ValueError: unknown keys or values, data that do not fit, a workdir of another
        config.
      FileNotFoundError: missing images.
      FloatingPointError: a loss that is not finite; names the epoch.
    """
    config = harness.check_config(config, default_config())
    aligners = _check_methods(config)
    data = _mlp_training.load_data(config)
    architecture = _mlp_training.architecture_of(config, data)
    network = networks.build(architecture)
    plan = _mlp_training.make_training(config, network, data)
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    params_batch = _mlp_training.train(config, network, data, plan, folder)
    _mlp_training.save_networks(folder, params_batch, architecture)

    found = {}
    for name, aligner in aligners.items():
        found[name] = [
            _pair(config, network, data, params_batch, name, aligner, pair, folder)
            for pair in range(config.num_pairs)
        ]
    results = _results(config, found)
    _write(folder, results, found)
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results of `run` as lines of text, data-free methods first."""
    columns = {
        "test_barrier": ("barrier", "{:.4f}"),
        "test_auc": ("AUC", "{:.4f}"),
        "test_midpoint_loss": ("mid loss", "{:.4f}"),
        "test_midpoint_accuracy": ("mid acc %", "{:.2%}"),
        "test_parents_accuracy": ("ends acc %", "{:.2%}"),
        "train_barrier": ("train bar.", "{:.4f}"),
        "seconds": ("seconds", "{:.2f}"),
    }
    methods = results["methods"]
    width = max(len(m["label"]) for m in methods.values()) + 2
    header = "".join(f"{title:>11}" for title, _ in columns.values())
    lines = [f"{'test set':<{width}}{header}"]
    for uses_data, title in ((False, "weights only"), (True, "with training data")):
        block = [m for m in methods.values() if m["uses_data"] == uses_data]
        lines += [f"-- {title}"] if block else []
        for method in block:
            cells = [form.format(method[key]) for key, (_, form) in columns.items()]
            row = "".join(f"{cell.rstrip('%'):>11}" for cell in cells)
            lines.append(f"{method['label']:<{width}}{row}")
    return "\n".join(lines)


def _check_methods(config) -> dict[str, alignment.Aligner | None]:
    """Return the solver of every method, before any work."""
    if not config.methods or len(set(config.methods)) != len(config.methods):
        raise ValueError(
            "config.methods must name at least one method, each once, got"
            f" {tuple(config.methods)}."
        )
    harness.check_midpoint(config)
    return {name: _mlp_methods.make(name, config) for name in config.methods}


def _pair(config, network, data, params_batch, name, aligner, pair, folder):
    """Return curves and numbers of one method on one pair, kept in a file."""
    recipe = {
        "options": _mlp_methods.options_of(name, config),
        "num_points": config.num_points,
    }
    mark = harness.config_hash(ConfigDict(recipe))
    file = folder / "alignments" / f"{name}_{pair}_{mark}.json"
    if file.exists():
        return harness.read_sealed(file)
    params_a, params_b = (
        _mlp_training.pick(params_batch, 2 * pair + i) for i in range(2)
    )
    found: dict[str, Any] = {"seconds": 0.0}
    if aligner is not None:
        problem = _mlp_paths.make_problem(
            network,
            params_a,
            params_b,
            data if _mlp_methods.METHODS[name].uses_data else None,
        )
        key = jax.random.fold_in(jax.random.key(config.seed), pair)
        params_b, found = _mlp_paths.align_pair(network, aligner, problem, key)
    record = _mlp_paths.measure_path(
        network, params_a, params_b, data, config.num_points
    )
    record["numbers"] = found | record["numbers"]
    file.parent.mkdir(exist_ok=True)
    harness.write_sealed(file, record)
    return record


def _results(config, found) -> dict[str, Any]:
    """Return means over pairs by method, and what the networks reach alone."""
    first = next(iter(found.values()))
    ends = [
        {measure: pair["curves"][measure][end] for measure in _mlp_paths.MEASURES}
        for pair in first
        for end in (0, -1)
    ]
    methods = {}
    for name, pairs in found.items():
        method = _mlp_methods.METHODS[name]
        methods[name] = {"label": method.label, "uses_data": method.uses_data}
        for key, value in pairs[0]["numbers"].items():
            values = [pair["numbers"][key] for pair in pairs]
            if len(pairs) == 1 or not isinstance(value, float):
                methods[name][key] = value if len(pairs) == 1 else values
                continue
            methods[name][key] = float(np.mean(values))
            error = np.std(values, ddof=1) / len(values) ** 0.5
            methods[name][f"{key}_stderr"] = float(error)
    return {
        "networks": ends,
        "methods": methods,
        "num_pairs": config.num_pairs,
        "num_points": config.num_points,
    }


def _write(folder, results, found) -> None:
    """Write `results.json`, `results.npz` (`METHOD/MEASURE`, `[N, T]`), the figure."""
    curves = {
        name: {
            measure: np.array([pair["curves"][measure] for pair in pairs])
            for measure in _mlp_paths.MEASURES
        }
        for name, pairs in found.items()
    }
    arrays: dict[str, Any] = {
        f"{n}/{m}": c for n, group in curves.items() for m, c in group.items()
    }
    arrays["lams"] = np.linspace(0, 1, results["num_points"])
    harness.save_arrays(folder / "results.npz", arrays)
    harness.write_json(folder / "results.json", results)
    labels = {name: method["label"] for name, method in results["methods"].items()}
    panels = {
        _TITLES[measure]: {
            labels[name]: (arrays["lams"], *_curves.mean_and_error(group[measure]))
            for name, group in curves.items()
        }
        for measure in ("test_loss", "test_accuracy", "train_loss", "train_accuracy")
    }
    figure = plots.mean_curves(
        panels,
        "λ",
        num_columns=2,
        log_scale=[_TITLES["test_loss"], _TITLES["train_loss"]],
    )
    plots.save_figure(figure, folder / "paths")


_TITLES = {
    "train_loss": "training loss (nats)",
    "train_accuracy": "training accuracy",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy",
}
