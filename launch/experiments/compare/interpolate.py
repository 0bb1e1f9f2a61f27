"""Interpolate between INRs of one function, or one image, after bringing them together.

The main experiment of Boufalis et al. 2025 (arXiv 2511.12601): members of the orbit of
a network are paired, the second one is perturbed, and networks on the straight path
between them are compared with the image. Beside the published methods stand exact ones,
beside orbits separate fits of one image. A run leaves in its workdir:

    config.json, versions.json    what was run, and on what
    autoencoder/                  made first, unless `config.canonicalizer` names one
    cells/                        losses of every pair by family, noise and method
    results.json, results.npz     the numbers; mean curves with their errors
    paths_image, paths_own, noise the figures, as .png and .pdf
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import config_dict

from experiments import harness, populations, train
from experiments.compare import _inr_paths, _interpolation_report
from experiments.populations import families
from experiments.train import autoencode
from symmerge_jax import autoencoders, zoo

Cell = _interpolation_report.Cell
Opened = tuple[_inr_paths.Inrs, autoencoders.Canonicalizer]


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/orbit_interpolation.py`.

    `canonicalizer` is the workdir of a finished `autoencode` run, whose held-out
    networks are used; without it the run of `autoencoder` is made first (by default
    `launch/configs/digits_inr.py:probes`). Every family is perturbed by every one of
    `sigmas`, and the last family by those of `sweep` too. `canonicalizers` are further
    runs on the same networks by name: methods that read latents are then applied with
    each of these instead, which may include the first.
    """
    autoencoder = autoencode.default_config()
    autoencoder.encoder.update(width=32, latent_size=64, num_probes=64)
    autoencoder.update(num_steps=600, batch_size=32, num_microbatches=4)
    return harness.ConfigDict(
        {
            "experiment": "interpolate",
            "seed": 0,
            "canonicalizer": config_dict.placeholder(str),
            "canonicalizers": {},
            "autoencoder": autoencoder,
            "images": {
                "source": config_dict.placeholder(str),
                "dir": config_dict.placeholder(str),
            },
            "families": ("P", "D", "PD"),
            "sigmas": (0.0, 0.005),
            "sweep": (),
            "num_networks": 10,
            "num_members": 512,
            "num_points": 40,
            "methods": _inr_paths.METHODS,
            "num_random_starts": 9,
            "chunk_size": 512,
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and on what; all else is as in `default_config`.

    Attributes:
      open: returns the networks and their autoencoder, which is trained first in the
        folder of the run if it does not exist yet.
      others: further autoencoders by name.
      cells: everything that is measured; those of one group follow each other.
      options: of `_inr_paths.measurer`.
    """

    open: Callable[[pathlib.Path], Opened]
    others: dict[str, autoencoders.Canonicalizer]
    cells: list[Cell]
    num_members: int
    seed: int
    options: Mapping[str, int]


def plan(config: harness.Config) -> Plan:
    """Take a config apart, and open what exists already; see `Experiment`."""
    harness.each_once("methods", config.methods, _inr_paths.METHODS)
    harness.each_once("families", config.families, families.FAMILIES)
    if not config.sigmas or len(set(config.sigmas)) != len(config.sigmas):
        raise ValueError(
            "config.sigmas must name at least one noise level, each once, got"
            f" {config.sigmas}."
        )
    for key in ("sigmas", "sweep"):
        for sigma in config[key]:
            families.check_sigma(key, sigma)
    harness.at_least(config, num_networks=2, num_members=2)
    options = _inr_paths.options_of(config)

    def train_and_open(folder: pathlib.Path) -> Opened:
        harness.run(autoencode.EXPERIMENT, config.autoencoder, folder / "autoencoder")
        return _open(config, folder / "autoencoder")

    if (source := config.canonicalizer) is None:
        autoencode.EXPERIMENT.plan(config.autoencoder)  # refuses what is wrong with it
        open_networks = train_and_open
    else:
        because = f"canonicalizer={source!r}"
        harness.refuse_unused(config, default_config(), ("autoencoder",), because)
        opened = _open(config, pathlib.Path(source))
        open_networks = lambda folder: opened  # noqa: E731
    others = _open_others(config)
    groups = [(f, float(s)) for s in config.sigmas for f in config.families]
    groups += [(config.families[-1], float(sigma)) for sigma in config.sweep]
    return Plan(
        open=open_networks,
        others=others,
        cells=[
            Cell(*group, method, encoder)
            for group in dict.fromkeys(groups)
            for method in config.methods
            for encoder in (_inr_paths.reads_latents(method) and others) or (None,)
        ],
        num_members=config.num_members,
        seed=config.seed,
        options=options,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Make the pairs, bring them together by every method, and measure the paths.

    A run that was stopped resumes at the next cell; families, noise levels and methods
    may be added between starts. `results.npz` holds `lams [T]` and, as
    `FAMILY/SIGMA/METHOD/MEASURE/...`, the `mean`, its `error` (standard error over
    images) and `std` (over all pairs), each `[T]`. The method is followed by `@` and
    the autoencoder if there are several.

    Returns:
      `cells`, each with `family`, `sigma`, `method`, its `label`, `encoder` if there
      are several, the counts, `recovered` (fraction of pairs that were aligned exactly,
      None where that means nothing), `seconds`, and the numbers of `curves.summarize`
      for each of `_inr_losses.MEASURES`.
    """
    inrs, canonicalizer = plan.open(folder)
    canonicalizers = {None: canonicalizer, **plan.others}
    measure = _inr_paths.measurer(inrs, canonicalizers, **plan.options)
    spec, seed = canonicalizer.spec, plan.seed

    @functools.lru_cache(maxsize=1)
    def open_group(family: str, sigma: float) -> _inr_paths.Group:
        members = families.make_members(family, inrs.zoo, spec, plan.num_members, seed)
        are_twins = family in families.TWINS
        pairs = families.shifted_pairs(members, sigma, seed, are_twins=are_twins)
        images = None if inrs.images is None else inrs.images[pairs.row]
        return _inr_paths.group_of(pairs, images, seed)

    def measure_cell(cell: Cell) -> dict[str, np.ndarray]:
        group = open_group(cell.family, cell.sigma)
        arrays = measure(cell.method, cell.encoder, group).arrays
        return {**arrays, "row": group.pairs.row}

    files = {cell: folder / "cells" / f"{cell.file_name}.npz" for cell in plan.cells}
    cells = harness.complete_arrays(files, measure_cell, "interpolate")
    harness.save_arrays(
        folder / "results.npz", _interpolation_report.mean_curves(cells)
    )
    return {
        "cells": [
            _interpolation_report.numbers(cell, spec, arrays)
            for cell, arrays in cells.items()
        ]
    }


def _open(config: harness.Config, source: pathlib.Path) -> Opened:
    """Read the autoencoder run, and draw held-out networks from its zoo."""
    canonicalizer = autoencoders.load_canonicalizer(source)
    saved = harness.load_config(source / "config.json")
    trained = autoencode.EXPERIMENT.completed(saved)
    data = populations.inr_source(trained).load(source)
    zoo.require_architecture(data.zoo, canonicalizer.architecture)
    size: Any = data.task.size
    inrs = _inr_paths.held_out(
        config, default_config(), data.zoo, data.parts["test"], size, source
    )
    families.check_source(config.families, inrs.zoo)
    return inrs, canonicalizer


def _open_others(config: harness.Config) -> dict[str, autoencoders.Canonicalizer]:
    """Read the named autoencoders, which must not have seen the networks either."""
    if not config.canonicalizers:
        return {}
    if config.canonicalizer is None:
        raise ValueError(
            "config.canonicalizers are compared on the networks that"
            " config.canonicalizer holds out: give it too."
        )
    named = {"canonicalizer": config.canonicalizer, **config.canonicalizers.to_dict()}
    opened = train.open_runs(named).encoders
    found = {encoder.name: encoder.canonicalizer for encoder in opened}
    return {name: found[name] for name in config.canonicalizers}


EXPERIMENT = harness.Experiment(
    name="interpolate",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=_interpolation_report.tables,
    draw=_interpolation_report.draw,
    may_change=("families", "sigmas", "sweep", "methods", "chunk_size"),
)
