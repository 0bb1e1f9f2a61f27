"""Merge real networks that were trained apart, and repair what the mean has lost.

Every way to bring networks into one frame, times everything that may be done after the
mean: re-estimated statistics (Jordan et al. 2023, *REPAIR*, arXiv 2211.08403), least
squares layer by layer (Nasery et al. 2025, *PLeaS*, arXiv 2407.02447) and so on, as
`merging.repair` does them. Inputs that methods see have no labels; labelled ones serve
for the score alone. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    networks/, checkpoints/      networks that were trained; for resuming
    cells/                       what was measured, kept for the next start
    results.json, results.npz    the numbers; curves of the paths
    paths                        the paths, as .png and .pdf
"""

import dataclasses
import itertools
import pathlib
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.compare import repairs
from experiments.populations import (
    flax_networks,
    flax_training,
    real_networks,
    splice_sites,
)
from experiments.real import _bring, _lab, _results

FAMILIES = (*flax_networks.FAMILIES, "splice")
"""Values of `config.family`."""


class Plan(NamedTuple):
    """What a run does; all else is as in `default_config`.

    Attributes:
      subject: the networks, and their task.
      columns: what is done after the mean.
      groups: `[R, K]` numbers of networks; smaller groups are the first ones of each.
    """

    family: str
    subject: real_networks.Plan
    methods: tuple[str, ...]
    columns: tuple[repairs.Column, ...]
    groups: np.ndarray
    path_methods: tuple[str, ...]
    path_columns: tuple[repairs.Column, ...]
    num_points: int
    partial_methods: tuple[str, ...]
    shares: tuple[float, ...]
    seed: int


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_networks.py` for runs.

    `family` is one of `FAMILIES`. "splice" reads `files`, checkpoints of OpenSpliceAI,
    and `data.dir`/openspliceai/windows.npz. The others train networks by `training`
    (fields of `flax_training.Recipe`), seed after seed. `sizes` are numbers of networks
    that become one, for each of `num_groups` groups; none for all files, or for pairs.

    Unlabelled inputs are "given"; or "random" (pixels or nucleotides, uniform),
    "synthetic", made from these by `merging.synthesize`, or "smooth", images of
    `merging.smooth_noise`: then nothing has seen data.

    `repairs` are what is done after the mean: "none", or some of `merging.REPAIRS`
    joined by "+"; `closed_forms` are the same without data. `path` is the line
    between the first two networks; no `path.methods` omit it. `partial` keeps shares of
    the neurons of these two apart (`merging.merge_partially`), those that agree least;
    statistics are re-estimated.
    """
    return ConfigDict(
        {
            "experiment": "merge_networks",
            "seed": 0,
            "family": "digits_batchnorm",
            "files": (),
            "norm": "batch",
            "width": 1.0,
            "sizes": (),
            "num_groups": 1,
            "data": flax_networks.default_data(),
            "training": dataclasses.asdict(flax_training.Recipe()),
            "methods": tuple(_bring.METHODS),
            "closed_forms": repairs.CLOSED_FORMS,
            "repairs": (
                *("none", "temperature", "statistics", "statistics+rescale"),
                *("statistics+repair", "statistics+bias", "statistics+least_squares"),
                "statistics+mapped_least_squares",
            ),
            "path": {
                "methods": ("naive", "published", "ours", "activations_balanced"),
                "repairs": ("none", "statistics", "statistics+least_squares"),
                "num_points": 11,
            },
            "partial": {
                "methods": ("naive", "ours", "activations_balanced"),
                "shares": (0.0, 0.25, 0.5, 0.75, 1.0),
            },
            "checkpoint_every": 200,
        }
    )


def plan(config: harness.Config) -> Plan:
    """Take a config apart; see `Experiment`."""
    _check(config)
    because = f"family={config.family!r}"
    if config.family == "splice":
        unused = ("norm", "width", "training", "data.source", "data.pool", "num_groups")
        harness.refuse_unused(config, default_config(), unused, because)
        subject = splice_sites.plan(config)
    else:
        unused = ("files",)
        harness.refuse_unused(config, default_config(), unused, because)
        subject = flax_networks.plan(config)
    _check_statistics(config, subject)
    path_columns = (repairs.column(x, False) for x in config.path.repairs)
    is_drawn = 2 in subject.sizes
    unlabelled = config.data.unlabelled
    note = "" if unlabelled == "given" else f", {unlabelled} inputs"
    rows = np.arange(config.num_groups * max(subject.sizes))
    return Plan(
        family=config.family + note,
        subject=subject,
        methods=tuple(config.methods),
        columns=repairs.columns(config.closed_forms, config.repairs),
        groups=rows.reshape(config.num_groups, -1),
        path_methods=tuple(config.path.methods) if is_drawn else (),
        path_columns=tuple(path_columns),
        num_points=config.path.num_points,
        partial_methods=tuple(config.partial.methods) if is_drawn else (),
        shares=tuple(config.partial.shares),
        seed=config.seed,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Bring the networks together by every method, repair the means, and measure."""
    lab = _lab.Lab(plan, plan.subject.load(folder))
    groups = [*itertools.product(plan.subject.sizes, range(len(plan.groups)))]
    jobs = [
        *(("network", number) for number in range(len(plan.subject.names))),
        *(("ensemble", *group) for group in groups),
        *(
            ("merged", *group, method, column)
            for group in groups
            for method in plan.methods
            for column in plan.columns
        ),
        *(
            ("path", plan.num_points, method, column)
            for method in plan.path_methods
            for column in plan.path_columns
        ),
        *(
            ("partial", method, share)
            for method in plan.partial_methods
            for share in plan.shares
        ),
    ]
    makers = {
        "network": lab.network,
        "ensemble": lab.ensemble,
        "merged": lab.merged,
        "path": lab.path,
        "partial": lab.partial,
    }
    files = {job: folder / "cells" / f"{_file_name(job)}.npz" for job in jobs}
    cells = harness.complete_arrays(
        files, lambda job: makers[job[0]](*job[1:]), "merge"
    )
    if plan.path_methods:
        curves = _results.curves_of(plan, cells)
        harness.save_arrays(folder / "results.npz", curves)
    return _results.summarize(plan, cells)


def _file_name(job: tuple) -> str:
    return "_".join(getattr(part, "key", str(part)) for part in job)


def _check(config: harness.Config) -> None:
    """Refuse values that do not fit before any file is opened; names the key."""
    if config.family not in FAMILIES:
        raise ValueError(
            f"config.family is {config.family!r}, known are {', '.join(FAMILIES)}."
        )
    if config.data.unlabelled not in real_networks.UNLABELLED:
        raise ValueError(
            f"config.data.unlabelled is {config.data.unlabelled!r}, known are"
            f" {', '.join(real_networks.UNLABELLED)}."
        )
    if config.data.unlabelled == "smooth" and config.family == "splice":
        raise ValueError(
            "config.data.unlabelled='smooth' are images, and family='splice' reads DNA:"
            " take 'random'."
        )
    harness.at_least(config, num_groups=1, checkpoint_every=1)
    if any(size < 2 for size in config.sizes):
        raise ValueError(
            f"config.sizes must be >= 2, numbers of networks, got {config.sizes}."
        )
    if len(set(config.sizes)) < len(config.sizes):
        raise ValueError(f"config.sizes must name each once, got {config.sizes}.")
    harness.each_once("methods", config.methods, _bring.METHODS)
    repairs.check("repairs", config.repairs)
    repairs.check("path.repairs", config.path.repairs)
    if config.closed_forms:
        repairs.check("closed_forms", config.closed_forms, repairs.CLOSED_FORMS)
    if config.path.methods:
        harness.each_once("path.methods", config.path.methods, _bring.METHODS)
        harness.check_midpoint(config.path)
    if config.partial.methods:
        harness.each_once("partial.methods", config.partial.methods, _bring.METHODS)
        shares = config.partial.shares
        if not shares or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                f"config.partial.shares must lie in [0, 1], got {tuple(shares)}."
            )
        if config.family == "splice":
            raise ValueError(
                "config.partial widens modules of Flax, and family='splice' is a"
                " function: set config.partial.methods=()."
            )


def _check_statistics(config: harness.Config, subject: real_networks.Plan) -> None:
    """Refuse to re-estimate statistics of networks that have none."""
    for key in ("repairs", "closed_forms", "path.repairs"):
        names = dict(harness.flatten_config(config))[key]
        if not subject.has_statistics and "statistics" in "+".join(names).split("+"):
            raise ValueError(
                f"config.{key} has 'statistics', but networks of {config.family!r} with"
                f" norm {config.norm!r} have none: omit it."
            )


EXPERIMENT = harness.Experiment(
    name="merge_networks",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=_results.tables,
    draw=_results.draw,
    may_change=(
        *("methods", "repairs", "closed_forms", "path.num_points", "num_groups"),
        "partial.methods",
    ),
)
