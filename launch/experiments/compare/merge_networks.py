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
import functools
import itertools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import symmerge_jax
from experiments import harness
from experiments.compare import _networks_bring, _networks_results
from experiments.populations import (
    flax_networks,
    flax_training,
    real_networks,
    splice_sites,
)
from symmerge_jax import merging, networks, symmetry
from symmerge_jax.typing import Params

FAMILIES = (*flax_networks.FAMILIES, "splice")
"""Values of `config.family`."""

REPAIRS = (
    *("statistics", "rescale", "repair", "bias", "least_squares", "temperature"),
)
"""Names that `merging.repair` knows."""

CLOSED_FORMS = ("statistics", "rescale")
"""Those that need no data."""


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
    columns: tuple[_networks_results.Column, ...]
    groups: np.ndarray
    path_methods: tuple[str, ...]
    path_columns: tuple[_networks_results.Column, ...]
    num_points: int
    seed: int


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/merge_networks.py` for runs.

    `family` is one of `FAMILIES`. "splice" reads `files`, checkpoints of OpenSpliceAI,
    and `data.dir`/openspliceai/windows.npz. The others train networks by `training`
    (fields of `flax_training.Recipe`), seed after seed. `sizes` are numbers of networks
    that become one, for each of `num_groups` groups; none for all files, or for pairs.

    `repairs` are what is done after the mean: "none", or some of `REPAIRS` joined by
    "+", in that order; `closed_forms` are the same without data. `path` is the line
    between the first two networks; no `path.methods` omit it.
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
            "methods": tuple(_networks_bring.METHODS),
            "closed_forms": CLOSED_FORMS,
            "repairs": (
                *("none", "temperature", "statistics", "statistics+rescale"),
                *("statistics+repair", "statistics+bias", "statistics+least_squares"),
            ),
            "path": {
                "methods": ("naive", "published", "ours", "activations_balanced"),
                "repairs": ("none", "statistics", "statistics+least_squares"),
                "num_points": 11,
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
        harness.refuse_unused(config, default_config(), ("files",), because)
        subject = flax_networks.plan(config)
    _check_statistics(config, subject)
    columns = tuple(
        _networks_results.column(name, free)
        for free, names in ((True, config.closed_forms), (False, config.repairs))
        for name in names
    )
    path_columns = (_networks_results.column(x, False) for x in config.path.repairs)
    is_drawn = 2 in subject.sizes
    rows = np.arange(config.num_groups * max(subject.sizes))
    return Plan(
        family=config.family,
        subject=subject,
        methods=tuple(config.methods),
        columns=tuple(sorted(columns, key=lambda column: column.name != "none")),
        groups=rows.reshape(config.num_groups, -1),
        path_methods=tuple(config.path.methods) if is_drawn else (),
        path_columns=tuple(path_columns),
        num_points=config.path.num_points,
        seed=config.seed,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Bring the networks together by every method, repair the means, and measure."""
    lab = _Lab(plan, plan.subject.load(folder))
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
    ]
    makers = {
        "network": lab.network,
        "ensemble": lab.ensemble,
        "merged": lab.merged,
        "path": lab.path,
    }
    files = {job: folder / "cells" / f"{_file_name(job)}.npz" for job in jobs}
    cells = harness.complete_arrays(
        files, lambda job: makers[job[0]](*job[1:]), "merge"
    )
    if plan.path_methods:
        curves = _networks_results.curves_of(plan, cells)
        harness.save_arrays(folder / "results.npz", curves)
    return _networks_results.summarize(plan, cells)


class _Lab:
    """Measures the networks of a plan, and what becomes of them."""

    def __init__(self, plan: Plan, params: Any):
        self._plan, self._subject, self._params = plan, plan.subject, params
        self._network = symmerge_jax.trace(
            self._subject.apply, params[0], self._subject.unlabelled[:4]
        )
        self._log_probabilities = jax.jit(
            lambda params, x: jax.nn.log_softmax(self._subject.apply(params, x))
        )
        self._parent = functools.lru_cache(maxsize=None)(
            lambda number: self._outputs(params[number])
        )
        self._brought = functools.lru_cache(maxsize=8)(self._bring)

    def network(self, number: int) -> dict[str, Any]:
        """Return the measures of a network, `statistics/MEASURE` re-estimated."""
        found: dict[str, Any] = dict(self._score(self._parent(number)))
        if self._subject.has_statistics:
            column = _networks_results.column("statistics", False)
            again = self._outputs(self._alone(self._params[number], column))
            score = self._score(again).items()
            found |= {f"statistics/{key}": value for key, value in score}
        return found

    def ensemble(self, size: int, group: int) -> dict[str, Any]:
        """Return the measures of the mean of outputs, and distances to it."""
        rows = self._plan.groups[group, :size]
        parents = [self._parent(row) for row in rows]
        return {
            **self._score(_ensemble(parents)),
            **_distances(_ensemble(parents), parents),
        }

    def merged(self, size: int, group: int, method: str, column) -> dict[str, Any]:
        """Return the measures of a merged and repaired network."""
        aligned, seconds = self._brought(method, size, group)
        found = self._outputs(
            self._repaired(_networks_bring.mean(aligned), aligned, column)
        )
        parents = [self._parent(row) for row in self._plan.groups[group, :size]]
        return {
            **self._score(found),
            **_distances(found, parents),
            "seconds": np.asarray(seconds),
        }

    def path(self, num_points: int, method: str, column) -> dict[str, np.ndarray]:
        """Return `MEASURE` `[T]` on the line between the first two networks."""
        aligned, _ = self._brought(method, 2, 0)
        scores = []
        for lam in np.linspace(0, 1, num_points):
            if lam in (0, 1):
                point = self._alone(symmetry.rows(aligned, int(lam)), column)
            else:
                weights = (1 - lam, lam)
                point = _networks_bring.mean(aligned, weights)
                point = self._repaired(point, aligned, column, weights)
            scores.append(self._score(self._outputs(point)))
        return _stacked(scores)

    def _bring(self, method: str, size: int, group: int) -> tuple[Params, float]:
        crowd = _networks_bring.Crowd(
            params=[self._params[row] for row in self._plan.groups[group, :size]],
            network=self._network,
            inputs=self._subject.unlabelled,
            chunk_size=self._subject.batch_size,
            key=jax.random.fold_in(jax.random.key(self._plan.seed), group),
        )
        return _networks_bring.bring(method, crowd)

    def _alone(self, params: Params, column) -> Params:
        """Return a network repaired as if merged with itself."""
        return self._repaired(params, _networks_bring.stack([params] * 2), column)

    def _repaired(
        self, params: Params, aligned: Params, column, weights=None
    ) -> Params:
        if not column.methods:
            return params
        inputs = None if column.is_free else self._subject.unlabelled
        return merging.repair(
            *(params, aligned, self._network, column.methods, weights), inputs=inputs
        ).params

    def _outputs(self, params: Params) -> np.ndarray:
        """Return log-probabilities of all classes on the test examples."""
        device = jax.device_put(params)
        return networks.map_batches(
            lambda x: self._log_probabilities(device, x),
            self._subject.test.inputs,
            self._subject.batch_size,
        )

    def _score(self, outputs: np.ndarray) -> real_networks.Scores:
        return self._subject.score(outputs, self._subject.test.targets)


def _ensemble(parents: list[np.ndarray]) -> np.ndarray:
    """Return the log-probabilities of the mean logits."""
    mean = np.mean(parents, axis=0)
    return np.asarray(jax.nn.log_softmax(mean))


def _distances(found: np.ndarray, parents: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how far outputs are from those of the parents, and of the ensemble.

    Means of total variation, in units of that between the parents.
    """
    pairs = itertools.combinations(parents, 2)
    unit = np.mean([_variation(a, b) for a, b in pairs])
    to_parents = np.array([_variation(found, parent) for parent in parents])
    return {
        "to_parents": to_parents / unit,
        "to_ensemble": np.asarray(_variation(found, _ensemble(parents)) / unit),
    }


def _variation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean total variation of distributions given as logarithms."""
    return float(np.abs(np.exp(a) - np.exp(b)).sum(axis=-1).mean() / 2)


def _stacked(scores: list[real_networks.Scores]) -> dict[str, np.ndarray]:
    return {key: np.array([score[key] for score in scores]) for key in scores[0]}


def _file_name(job: tuple) -> str:
    return "_".join(getattr(part, "key", str(part)) for part in job)


def _check(config: harness.Config) -> None:
    """Refuse values that do not fit before any file is opened; names the key."""
    if config.family not in FAMILIES:
        raise ValueError(
            f"config.family is {config.family!r}, known are {', '.join(FAMILIES)}."
        )
    harness.at_least(config, num_groups=1, checkpoint_every=1)
    if any(size < 2 for size in config.sizes):
        raise ValueError(
            f"config.sizes must be >= 2, numbers of networks, got {config.sizes}."
        )
    if len(set(config.sizes)) < len(config.sizes):
        raise ValueError(f"config.sizes must name each once, got {config.sizes}.")
    harness.each_once("methods", config.methods, _networks_bring.METHODS)
    _networks_results.check("repairs", config.repairs, REPAIRS)
    _networks_results.check("path.repairs", config.path.repairs, REPAIRS)
    if config.closed_forms:
        _networks_results.check("closed_forms", config.closed_forms, CLOSED_FORMS)
    if config.path.methods:
        harness.each_once("path.methods", config.path.methods, _networks_bring.METHODS)
        harness.check_midpoint(config.path)


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
    tables=_networks_results.tables,
    draw=_networks_results.draw,
    may_change=("methods", "repairs", "closed_forms", "path.num_points", "num_groups"),
)
