"""Merge CNN classifiers of a zoo that were trained independently.

The CNN experiment of Boufalis et al. 2025 (arXiv 2511.12601): networks that no
autoencoder was trained on are paired at random, brought together, and what lies on the
straight path between them is measured on held-out images. Beside the published methods
stand matching with scales or signs and from many starts, exact canonical forms, and
the repair of the merged network; beside pairs, crowds. Everything a run leaves is in
its workdir:

    config.json, versions.json   what was run, and on what
    cells/                       what was measured, by method
    results.json, results.npz    the numbers; curves of all pairs
    paths, crowd                 as .png and .pdf, like all figures
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.compare import (
    _cnn_crowds,
    _cnn_methods,
    _cnn_paths,
    _cnn_repair,
    _cnn_report,
)
from experiments.populations import _cnn_data
from symmerge_jax.typing import Params

MAY_CHANGE: tuple[str, ...] = ("methods", "crowd.methods", "crowd.sizes", "chunk_size")
"""Keys that add cells or leave some out, and do not change any."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_cnns.py`.

    `zoo` is a zoo file of CNN classifiers, `canonicalizer` the workdir of an
    autoencoder that was trained on a part of it: `split` are the fractions and the seed
    with which that part was chosen. Pairs are drawn among the `num_best` held-out
    networks (None for all). `data` says on which images the zoo was trained, as in the
    config that made it; `num_train` are seen by methods that use data, `num_test` are
    evaluated on, None for all. No `methods` are all that apply. `num_pairs=0` or no
    `crowd.sizes` leave out that part.
    """
    return ConfigDict(
        {
            "experiment": "merge_cnns",
            "seed": 0,
            "zoo": config_dict.placeholder(str),
            "canonicalizer": config_dict.placeholder(str),
            "split": {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0},
            "data": {
                "source": "digits",
                "dir": config_dict.placeholder(str),
                "num_images": config_dict.placeholder(int),
                "test_fraction": 0.2,
                "seed": 0,
                "num_train": config_dict.placeholder(int),
                "num_test": config_dict.placeholder(int),
            },
            "num_best": config_dict.placeholder(int),
            "num_pairs": 20,
            "num_points": 21,
            "methods": (),
            "num_random_starts": 8,
            "repairs": tuple(_cnn_repair.REPAIRS),
            "num_repair_images": 1000,
            "crowd": {"sizes": (), "num_crowds": 10, "methods": ()},
            "chunk_size": 64,
        }
    )


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Draw pairs and crowds, bring them together by every method, and measure.

    A run that was stopped goes on at the method that comes next. Methods and sizes of
    crowds may be added between starts.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds, see `_cnn_report.write`.

    Raises:
      ValueError: unknown keys or values, a workdir of another config, a zoo or a
        canonicaliser or images that do not fit.
      FileNotFoundError: no such zoo or canonicaliser, or no images.
    """
    config = harness.check_config(config, default_config())
    _check_values(config)
    data = _cnn_data.load(config)
    spec, canonicalizer = data.network.spec, data.canonicalizer
    methods, crowd_methods = (
        _cnn_methods.choose(tuple(names), known, spec, canonicalizer, key)
        for names, known, key in (
            (config.methods, _cnn_methods.METHODS, "config.methods"),
            (config.crowd.methods, _cnn_crowds.METHODS, "config.crowd.methods"),
        )
    )
    pairs = _cnn_data.draw_pairs(config, data)
    crowds = _cnn_data.draw_crowds(config, data) if config.crowd.sizes else None
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    lab = _open_lab(config, data)
    work: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "networks": lambda: lab.evaluator.measure(
            data.params, lab.evaluator.moments(data.params), "none"
        )
    }
    if config.num_pairs:
        for name in methods:
            work[f"pairs_{name}"] = lambda name=name: _measure_pairs(lab, name, pairs)
    if crowds is not None:
        for name in crowd_methods:
            for size in config.crowd.sizes:
                work[f"crowd_{name}_{size}"] = lambda name=name, size=size: (
                    _measure_crowds(lab, name, crowds[:, :size])
                )
    files = {name: folder / "cells" / f"{name}.npz" for name in work}
    cells = harness.complete_arrays(files, lambda name: work[name](), "merge")
    return _cnn_report.write(folder, config, data, pairs, crowds, cells)


def table(results: dict[str, Any]) -> str:
    """Return the results of `run` as lines of text, data-free methods first."""
    return _cnn_report.table(results)


class _Lab(NamedTuple):
    """What every measurement uses."""

    config: Any
    params: Params
    context: _cnn_methods.Context
    evaluator: _cnn_paths.Evaluator


def _check_values(config) -> None:
    """Refuse values that cannot work, before any file is opened."""
    repairs = config.repairs
    if unknown := set(repairs) - set(_cnn_repair.REPAIRS):
        raise ValueError(
            f"config.repairs has {min(unknown)!r}, known are"
            f" {', '.join(_cnn_repair.REPAIRS)}."
        )
    if not repairs or len(set(repairs)) != len(repairs):
        raise ValueError(f"config.repairs must name some, each once, got {repairs}.")
    least = {"num_pairs": 0, "num_random_starts": 0, "num_repair_images": 1}
    harness.at_least(config, **least, chunk_size=1)
    harness.check_midpoint(config)
    if not config.num_pairs and not config.crowd.sizes:
        raise ValueError(
            "Nothing to do: config.num_pairs is 0 and config.crowd.sizes is empty."
        )
    sizes = config.crowd.sizes
    if config.crowd.num_crowds < 1 or len(set(sizes)) != len(sizes):
        raise ValueError(
            "config.crowd.num_crowds must be >= 1 and config.crowd.sizes differ, got"
            f" {config.crowd.num_crowds} and {sizes}."
        )


def _open_lab(config, data: _cnn_data.CnnData) -> _Lab:
    context = _cnn_methods.Context(
        network=data.network,
        canonicalizer=data.canonicalizer,
        train_inputs=data.train_inputs,
        test_inputs=data.test_inputs,
        num_random_starts=config.num_random_starts,
        chunk_size=config.chunk_size,
        key=jax.random.key(config.seed),
    )
    evaluator = _cnn_paths.evaluator(
        data.network,
        data.test_inputs,
        data.test_labels,
        data.train_inputs[: config.num_repair_images],
    )
    return _Lab(config, data.params, context, evaluator)


def _measure_pairs(lab: _Lab, name: str, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Return `REPAIR/MEASURE` `[N, T]`, `function_error` `[N]`, `seconds`."""
    a, b = (_cnn_data.pick(lab.params, pairs[:, end]) for end in (0, 1))
    ends = _cnn_methods.find_ends(name, lab.context, a, b)
    targets = lab.evaluator.moments(ends.a), lab.evaluator.moments(ends.b)
    arrays: dict[str, Any] = {
        "function_error": ends.function_error,
        "seconds": np.asarray(ends.seconds),
    }
    for repair in lab.config.repairs:
        found = lab.evaluator.measure_paths(
            (ends.a, ends.b), targets, lab.config.num_points, repair
        )
        arrays |= {f"{repair}/{measure}": curve for measure, curve in found.items()}
    return arrays


def _measure_crowds(lab: _Lab, name: str, crowds: np.ndarray) -> dict[str, np.ndarray]:
    """Return `REPAIR/MEASURE` `[R]` of the means of crowds `[R, k]`, and `seconds`."""
    params = _cnn_data.pick(lab.params, crowds)
    found = _cnn_crowds.bring_together(name, lab.context, params)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found.aligned)
    target = _cnn_crowds.mean(
        jax.tree.map(
            lambda x: x.reshape(*crowds.shape, -1), lab.evaluator.moments(flat)
        )
    )
    merged = _cnn_crowds.mean(found.aligned)
    arrays: dict[str, Any] = {"seconds": np.asarray(found.seconds)}
    for repair in lab.config.repairs:
        measured = lab.evaluator.measure(merged, target, repair)
        arrays |= {f"{repair}/{measure}": row for measure, row in measured.items()}
    return arrays
