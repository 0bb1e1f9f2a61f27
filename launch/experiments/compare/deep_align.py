"""Learn to align the networks of a population, and compare with every other way.

Deep-Align (Navon et al. 2024, arXiv 2310.13397): a matcher learns from many networks of
one kind which neurons of two of them do the same, and aligns new pairs in one pass.
Two matchers are trained, with the published encoder of weights and with ours, which
watches what neurons do on learned inputs. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    *.zoo                        the populations, unless the config names files
    models/NAME_SEED/            metrics, checkpoints, and `matcher`, for `load_matcher`
    cells/POPULATION/            paths of aligned pairs, by method and seed
    results.json, results.npz    the numbers; all curves
    paths_POPULATION             losses along paths, as .png and .pdf
"""

import dataclasses
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.compare import (
    _align_comparison,
    _align_crowds,
    _align_evaluation,
    _align_methods,
    _align_report,
)
from experiments.populations import _align_population
from experiments.train import _align_training, _training
from symmerge_jax import deep_align, learning, training

MAY_CHANGE: tuple[str, ...] = (
    "models",
    "seeds",
    "methods",
    "other_methods",
    "crowds.sizes",
    "chunk_size",
    "rotated",
    "other_data.source",
    "other_data.zoo",
    "other_data.num_networks",
    "other_width.hidden_sizes",
    "other_width.zoo",
    "other_width.num_networks",
)
"""Keys that add rows or tables, or leave some out, and change none."""


def default_config(
    kind: str = "mlp", features: dict[str, str] | None = None
) -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    `networks` is the kind of networks and `population` a config of the maker of their
    zoo, which is used if `zoo` names no file; `population.data` are the images that the
    networks were trained on in both cases. `deep_align` and `ours` describe the
    matchers, see `_align_training.default_options`; `models` are those that are
    trained, each with every one of `seeds`. `augment` and, for INRs, `distort` change
    the copies that they are to recognise. No `methods` are all that apply, and no
    `other_methods`, those of the further tables, are `methods`.

    Tables: `num_pairs` pairs of held-out networks for each seed, on `num_test_inputs`
    images; methods with data see `num_train_inputs` (None for all). Further tables are
    added by `rotated` (images turned by 90 degrees, MLPs only), by `other_data.source`
    (networks trained on those images) and by `other_width.hidden_sizes` (or channels);
    their networks are read from `zoo`, or `num_networks` are made. `crowds` are of more
    than two held-out classifiers, whose mean is measured.

    Args:
      kind: of networks, "mlp", "cnn" or "siren".
      features: kind of features by matcher, where it is not the usual.

    Returns:
      The config.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in _align_population.KINDS:
        raise ValueError(
            f"config.networks is {kind!r}, known are {_align_population.KINDS}."
        )
    kinds = _align_training.KINDS | (features or {})
    return ConfigDict(
        {
            "experiment": "deep_align",
            "networks": kind,
            "seeds": (0, 1, 2),
            "zoo": config_dict.placeholder(str),
            "population": _align_population.zoo_config(kind),
            "split": {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0},
            "models": _align_training.MODELS,
            **{
                name: _align_training.default_options(kinds[name])
                for name in _align_training.MODELS
            },
            "augment": {"noise": 0.01, "dropout": 0.05, "prune": 0.1, "scale": 0.1},
            "distort": {"rotation": 0.0, "scale": 0.0, "shift": 0.0},
            "num_val_pairs": 64,
            "num_val_inputs": 256,
            "methods": (),
            "other_methods": (),
            "num_pairs": 32,
            "num_points": 25,
            "num_train_inputs": config_dict.placeholder(int),
            "num_test_inputs": config_dict.placeholder(int),
            "num_random_starts": 8,
            "sinkhorn": {
                "cost": "random_lambda",
                "num_steps": 1000,
                "learning_rate": 0.1,
                "batch_size": 100,
                "eval_size": 500,
                "eval_every": 50,
            },
            "crowds": {"sizes": (), "num_crowds": 20},
            "chunk_size": 16,
            "rotated": False,
            "other_data": {"source": config_dict.placeholder(str), **_made_or_read()},
            "other_width": {"hidden_sizes": (), **_made_or_read()},
        }
    )


def shorten(config: harness.Config) -> harness.Config:
    """Let a run end in seconds, with matchers that learn nothing; in place.

    Args:
      config: keys of `default_config`.

    Returns:
      The config.
    """
    config.seeds = (0,)
    config.num_pairs, config.num_points, config.num_random_starts = 2, 3, 1
    config.num_val_pairs, config.num_val_inputs = 1, 16
    for name in _align_training.MODELS:
        model = config[name]
        model.num_steps, model.batch_size, model.warmup_steps = 3, 2, 1
        model.log_every = model.evaluate_every = model.checkpoint_every = 2
    config.deep_align.features.update(width=4, num_layers=2)
    config.sinkhorn.update(num_steps=2, eval_every=2)
    return config


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Make the population, train the matchers, and compare all methods.

    A run that was stopped goes on where it was. Methods and other populations may be
    added between starts.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds, see `_align_report.write`.

    Raises:
      ValueError: unknown keys or values, networks of another kind, that are not finite
        or too few, or a workdir of another config.
      FileNotFoundError: missing images or zoo.
      FloatingPointError: a loss that is not finite; names the step.
    """
    config = check_config(config)
    mesh = training.make_mesh()
    planned = _align_population.plan(config)
    _align_crowds.check(config, planned)
    for name in config.models:
        _check_model(config, name, planned, mesh)
    others = dict(_align_population.others(config, planned, None))
    for title, one in {"held_out": planned, **others}.items():
        names = _align_comparison.methods(config, title)
        _align_methods.check_samples(config, names, one)
    for other in others.values():
        for name in config.models:
            _align_training.make_matcher(config, name, planned, other.architecture)
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    made = config.zoo is None
    population = _align_population.load(config, folder) if made else planned
    models = {
        (name, seed): _trained(config, name, seed, population, folder, mesh)
        for name in config.models
        for seed in config.seeds
    }
    return _align_comparison.compare(config, population, models, folder)


@harness.locking
def evaluate(workdir: str | os.PathLike) -> dict[str, Any]:
    """Compare all methods with the trained matchers of a workdir.

    What was measured before is kept.

    Args:
      workdir: folder of a finished run.

    Returns:
      The results of `run`.

    Raises:
      FileNotFoundError: if a matcher has not been trained.
      ValueError: if a file of the run is damaged.
    """
    folder = pathlib.Path(workdir)
    config = check_config(harness.load_config(folder / "config.json"))
    models = _align_comparison.load_matchers(config, folder)
    population = _align_population.load(config, folder)
    return _align_comparison.compare(config, population, models, folder)


def check_output(workdir: str | os.PathLike) -> None:
    """Refuse a finished run of which a matcher cannot be loaded.

    Args:
      workdir: folder of the run; running it again exports the matcher again.

    Raises:
      FileNotFoundError: if one is missing.
      ValueError: if one is damaged.
    """
    folder = pathlib.Path(workdir)
    config = complete_config(harness.load_config(folder / "config.json"))
    _align_comparison.load_matchers(config, folder)


def table(results: dict[str, Any]) -> str:
    """Return the results of `run` as lines of text, a table for each population."""
    return _align_report.table(results)


def complete_config(config: harness.Config) -> harness.Config:
    """Return a config with the defaults of its kinds of networks and features.

    Raises:
      ValueError: an unknown key or kind.
      TypeError: a value of another type.
    """
    kinds = {
        name: config.get(name, {}).get("features", {}).get("kind", kind)
        for name, kind in _align_training.KINDS.items()
    }
    defaults = default_config(config.get("networks", "mlp"), kinds)
    return harness.check_config(config, defaults)


def check_config(config: harness.Config) -> harness.Config:
    """Return the complete config, after checking what needs no data.

    Raises:
      ValueError: an unknown key or value.
      TypeError: a value of another type.
    """
    config = complete_config(config)
    if not config.models or set(config.models) - set(_align_training.MODELS):
        raise ValueError(
            f"config.models must name some of {_align_training.MODELS}, got"
            f" {config.models}."
        )
    if not config.seeds or len(set(config.seeds)) != len(config.seeds):
        raise ValueError(f"config.seeds must be different, got {config.seeds}.")
    harness.check_midpoint(config)
    least = {"num_pairs": 1, "chunk_size": 1, "num_val_pairs": 1, "num_val_inputs": 1}
    harness.at_least(config, **least)
    if config.rotated and config.networks != "mlp":
        raise ValueError(
            "config.rotated turns images for MLPs, config.networks is"
            f" {config.networks!r}."
        )
    if config.networks == "siren":
        if config.other_data.source is not None:
            raise ValueError("config.other_data is for classifiers, not for SIRENs.")
    elif any(config.distort.values()):
        raise ValueError("config.distort changes INRs, not classifiers.")
    if not 0 <= config.augment.scale < 1:
        raise ValueError(
            f"config.augment.scale must lie in [0, 1), got {config.augment.scale}."
        )
    for group, key in (("other_data", "source"), ("other_width", "hidden_sizes")):
        if config[group].zoo is not None and not config[group][key]:
            raise ValueError(
                f"config.{group}.zoo {config[group].zoo!r} goes with"
                f" config.{group}.{key}, which says what the networks are."
            )
    for name in _align_comparison.all_methods(config):
        if _align_methods.METHODS[name].model is None:
            _align_methods.make_aligner(config, name, None, None)
    return config


def _made_or_read() -> dict[str, Any]:
    """Return the keys of other networks, new: keys that share a placeholder are one."""
    return {"zoo": config_dict.placeholder(str), "num_networks": 40}


def _check_model(config, name, population, mesh) -> None:
    """Raise what a training would raise on its first step, without computing it."""
    try:
        job = _align_training.make_job(config, name, population)
        options = _training.fit_options(config[name], 0, f"config.{name}")
        learning.check(job, options, mesh=mesh)
    except ValueError as error:
        raise ValueError(f"config.{name}: {error}") from error
    matcher = job.model
    for method in _align_comparison.all_methods(config):
        if _align_methods.METHODS[method].model == name:
            _align_methods.make_aligner(config, method, matcher, None)


def _trained(config, name, seed, population, folder, mesh) -> deep_align.TrainedMatcher:
    """Return one matcher, trained and saved unless a file can be read."""
    folder = _align_comparison.model_folder(folder, name, seed)
    try:
        return deep_align.load_matcher(folder / "matcher")
    except (FileNotFoundError, ValueError):
        pass  # not there, or damaged: it is exported (again)
    job = _align_training.make_job(config, name, population)
    options = _training.fit_options(config[name], seed, f"config.{name}")
    trained = learning.fit(job, folder, options, mesh=mesh)
    _training.draw_curves(folder, label="validation loss at midpoints", best=job.best)
    held_out = _align_population.pick(population.params, population.parts["test"])
    recovered = _align_evaluation.recovered(
        config, trained.matcher, trained.variables, held_out
    )
    metadata = {**trained.metadata, **recovered}
    trained = dataclasses.replace(trained, metadata=metadata)
    deep_align.save_matcher(folder / "matcher", trained)
    return trained
