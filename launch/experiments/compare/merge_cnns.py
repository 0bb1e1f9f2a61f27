"""Merge CNN classifiers of a zoo that were trained independently.

The CNN experiment of Boufalis et al. 2025 (arXiv 2511.12601): networks that no
autoencoder was trained on are paired at random, brought together, and what lies on the
straight path between them is measured on held-out images. Beside the published methods
stand matching with scales or signs and from many starts, exact canonical forms, and
repairs of the mean (`merging.repair`); beside pairs, crowds. Everything a run leaves is
in its workdir:

    config.json, versions.json   what was run, and on what
    cells/                       what was measured, by method
    results.json, results.npz    the numbers; curves of all pairs
    paths, crowd                 as .png and .pdf, like all figures
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness, populations
from experiments.compare import _bring, _cnn_results, _methods, _paths, repairs
from experiments.populations import cnn_data
from symmerge_jax import learning, merging, symmetry
from symmerge_jax.typing import Params

METHODS = (
    *("naive", "balanced", "matching_p", "matching", "matching_p_best"),
    *("matching_best", "closed_form", "template", "reconstruct", "activation_matching"),
)
"""Methods for pairs that a config may name."""

CROWD_METHODS = (
    *("naive", "merge_many", "universe", "closed_form", "template", "reconstruct"),
)
"""Methods for crowds that a config may name."""


class Plan(NamedTuple):
    """What a run does; all else is as in `default_config`.

    Attributes:
      data: the networks and their task.
      methods: names of those for pairs.
      pairs: `[N, 2]` rows of networks, the worse one first; N is 0 for none.
      crowd_methods: names of those for crowds.
      crowds: `[R, K]` rows of networks.
      sizes: of crowds, the first networks of each row; may be none.
      columns: what is done after the mean, "none" first if it is among them.
      unlabelled: kind of the inputs that methods see, in `cnn_data.UNLABELLED`.
    """

    data: cnn_data.CnnData
    methods: tuple[str, ...]
    pairs: np.ndarray
    num_points: int
    crowd_methods: tuple[str, ...]
    crowds: np.ndarray
    sizes: tuple[int, ...]
    columns: tuple[repairs.Column, ...]
    unlabelled: str
    num_repair_images: int
    num_random_starts: int
    chunk_size: int
    seed: int


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_cnns.py`.

    `zoo` is a zoo file of CNN classifiers, `canonicalizer` the workdir of an
    autoencoder that was trained on a part of it: `split` are the fractions and the seed
    with which that part was chosen. Pairs are drawn among the `num_best` held-out
    networks (None for all). `data` says on which images the zoo was trained, as in the
    config that made it; `num_train` are seen by methods that use data, `num_test` are
    evaluated on, None for all. With `unlabelled="smooth"` these methods see as many of
    `merging.smooth_noise` in place of those "given". No `methods` are all that apply.
    `repairs` are what is done after the mean, "none" or some of `merging.REPAIRS`
    joined by "+", and `closed_forms` those without data. `num_pairs=0` or no
    `crowd.sizes` omit that part.
    """
    return ConfigDict(
        {
            "experiment": "merge_cnns",
            "seed": 0,
            "zoo": config_dict.placeholder(str),
            "canonicalizer": config_dict.placeholder(str),
            "split": {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 0},
            "data": {
                **populations.data_keys(),
                "seed": 0,
                "num_train": config_dict.placeholder(int),
                "num_test": config_dict.placeholder(int),
                "unlabelled": "given",
            },
            "num_best": config_dict.placeholder(int),
            "num_pairs": 20,
            "num_points": 21,
            "methods": (),
            "num_random_starts": 9,
            "closed_forms": ("rescale",),
            "repairs": (
                *("none", "bias", "rescale", "repair", "least_squares"),
                "mapped_least_squares",
            ),
            "num_repair_images": 1000,
            "crowd": {"sizes": (), "num_crowds": 10, "methods": ()},
            "chunk_size": 64,
        }
    )


def check(config: harness.Config) -> None:
    """Refuse invalid values before any file is opened; names the key."""
    repairs.check("repairs", config.repairs)
    if config.closed_forms:
        repairs.check("closed_forms", config.closed_forms, repairs.CLOSED_FORMS)
    if config.data.unlabelled not in cnn_data.UNLABELLED:
        raise ValueError(
            f"config.data.unlabelled is {config.data.unlabelled!r}, known are"
            f" {', '.join(cnn_data.UNLABELLED)}."
        )
    least = {"num_pairs": 0, "num_random_starts": 0, "num_repair_images": 1}
    harness.at_least(config, **least, chunk_size=1)
    harness.check_midpoint(config)
    _methods.check_names(config.methods, METHODS, "config.methods")
    _methods.check_names(config.crowd.methods, CROWD_METHODS, "config.crowd.methods")
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


def plan(config: harness.Config) -> Plan:
    """Take a config apart, and draw pairs and crowds; see `Experiment`."""
    check(config)
    data = cnn_data.load(config)
    given = () if data.canonicalizer is None else ("canonicalizer",)
    methods, crowd_methods = (
        _methods.choose(names, offered, data.network.spec, given, key)
        for names, offered, key in (
            (config.methods, METHODS, "config.methods"),
            (config.crowd.methods, CROWD_METHODS, "config.crowd.methods"),
        )
    )
    sizes, crowds, num = config.crowd.sizes, np.zeros((0, 0), int), len(data.number)
    pairs = cnn_data.draw_pairs(num, config.num_pairs, config.seed)
    if sizes:
        crowds = cnn_data.draw_crowds(num, sizes, config.crowd.num_crowds, config.seed)
    return Plan(
        data=data,
        methods=methods if config.num_pairs else (),
        pairs=pairs,
        num_points=config.num_points,
        crowd_methods=crowd_methods if sizes else (),
        crowds=crowds,
        sizes=tuple(sizes),
        columns=repairs.columns(config.closed_forms, config.repairs),
        unlabelled=config.data.unlabelled,
        num_repair_images=config.num_repair_images,
        num_random_starts=config.num_random_starts,
        chunk_size=config.chunk_size,
        seed=config.seed,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Bring pairs and crowds together by every method, and measure."""
    lab = _Lab(plan)
    jobs = [
        ("networks",),
        *(("pairs", name) for name in plan.methods),
        *(("crowd", name, k) for name in plan.crowd_methods for k in plan.sizes),
    ]
    files = {job: folder / "cells" / f"{'_'.join(map(str, job))}.npz" for job in jobs}
    makers = {"networks": lab.networks, "pairs": lab.pairs, "crowd": lab.crowds}
    cells = harness.complete_arrays(
        files, lambda job: makers[job[0]](*job[1:]), "merge"
    )
    if plan.methods:
        curves = _cnn_results.curves_of(plan, cells)
        harness.save_arrays(folder / "results.npz", curves)
    return _cnn_results.summarize(plan, cells)


class _Lab:
    """Measures the networks, pairs and crowds of a plan."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._losses = functools.partial(learning.task_losses, plan.data.network)
        self._test = jax.device_put(plan.data.task.test._asdict())
        self._seen = plan.data.task.train.inputs[: plan.num_repair_images]

    def networks(self) -> dict[str, np.ndarray]:
        """Return `loss` and `accuracy` `[N]` of the networks as they are."""
        return self._measure(self._plan.data.params)

    def pairs(self, name: str) -> dict[str, np.ndarray]:
        """Return `path/MEASURE` `[N, T]`, `REPAIR/MEASURE` `[N]` and more."""
        brought = self._bring(name, self._plan.pairs)
        ends, num_points = _bring.ends(brought.params), self._plan.num_points
        found = _paths.between(self._losses, *ends, num_points, self._test)
        return {
            "function_error": brought.function_error,
            **self._repaired(brought),
            **{f"path/{key}": x for key, x in _accuracies(found).items()},
        }

    def crowds(self, name: str, size: int) -> dict[str, np.ndarray]:
        """Return `REPAIR/MEASURE` `[R]` of the means of crowds, and `seconds`."""
        return self._repaired(self._bring(name, self._plan.crowds[:, :size]))

    def _repaired(self, brought: _bring.Brought) -> dict[str, Any]:
        """Return `REPAIR/MEASURE` `[R]` of means, and the seconds of bringing them."""
        crowds = brought.params
        merged = _bring.mean(crowds)
        arrays: dict[str, Any] = {"seconds": np.asarray(brought.seconds)}
        for column in self._plan.columns:
            inputs = None if column.is_free else self._seen
            rows = [
                merging.repair(
                    symmetry.rows(merged, row),
                    symmetry.rows(crowds, row),
                    self._plan.data.network,
                    column.methods,
                    inputs=inputs,
                ).params
                for row in range(symmetry.num_rows(merged))
                if column.methods
            ]
            mended = jax.tree.map(lambda *x: np.stack(x), *rows) if rows else merged
            measured = self._measure(mended).items()
            arrays |= {f"{column.key}/{measure}": x for measure, x in measured}
        return arrays

    def _bring(self, name: str, rows: np.ndarray) -> _bring.Brought:
        plan, data = self._plan, self._plan.data
        context = _bring.Context(
            network=data.network,
            canonicalizer=data.canonicalizer,
            options={"activation_matching": {"chunk_size": 250}},
            num_random_starts=plan.num_random_starts,
            chunk_size=plan.chunk_size,
        )
        crowds = _bring.Crowds(
            params=symmetry.rows(data.params, rows),
            keys=jax.random.split(jax.random.key(plan.seed), len(rows)),
            data=data.task.train._asdict(),
            inputs=data.task.test.inputs[:64],
        )
        return _methods.prepare(name, context)(crowds)

    def _measure(self, params: Params) -> dict[str, np.ndarray]:
        return _accuracies(_paths.alone(self._losses, params, self._test))


def _accuracies(losses: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"loss": losses["loss"], "accuracy": 1 - losses["error"]}


EXPERIMENT = harness.Experiment(
    name="merge_cnns",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=_cnn_results.tables,
    draw=_cnn_results.draw,
    may_change=("methods", "crowd.methods", "crowd.sizes", "chunk_size"),
)
