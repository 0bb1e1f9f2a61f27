"""Whether inputs are prepared as a parent knew them: no repair makes up for that."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import _layers, _sites, _tape
from symmerge_jax.typing import Params

_FARTHEST = 1.0
"""Standard deviations by which stored means may miss those of the inputs."""

_LARGEST_RATIO = 4.0
"""Ratio of standard deviations, in either direction."""


def warn_of_other_inputs(
    tape: _tape.Tape,
    sites: _sites.Sites,
    parents: Sequence[Params],
    arrays: Sequence[Any],
) -> None:
    """Say so where the inputs do not have a parent's first running statistics.

    Args:
      tape: the program.
      sites: where statistics meet data.
      parents: one by one.
      arrays: leaves of the inputs.
    """
    if not sites.statistics:
        return
    step = min(sites.statistics)
    for number, params in enumerate(parents):
        run = _tape.Run(tape, params, arrays)
        run.advance(step)
        means, variances = {}, {}
        for statistic in sites.statistics[step]:
            stored = np.asarray(run.leaf(statistic.path)[statistic.row], np.float64)
            seen = np.asarray(_layers.measure(statistic, run), np.float64)
            name = symmetry.name(statistic.path)
            (variances if statistic.is_variance else means)[name] = stored, seen
        if not means or not variances:
            continue
        (name, mean), *_ = means.items()
        (_, variance), *_ = variances.items()
        deviations = np.sqrt(np.maximum(variance, 1e-12))
        away = float(np.median(np.abs(mean[1] - mean[0]) / deviations[0]))
        ratio = float(np.median(deviations[1] / deviations[0]))
        if away > _FARTHEST or not 1 / _LARGEST_RATIO < ratio < _LARGEST_RATIO:
            logging.getLogger(__name__).warning(
                "repair: parent %d has seen other inputs: those given miss its running"
                " mean '%s' by %.1f standard deviations, and spread %.2g times as much."
                " If it was trained on inputs that were prepared in another way, its"
                " first layer cannot be averaged with the others': fold the"
                " preparation into that layer, or give inputs as all have seen them.",
                *(number, name, away, ratio),
            )
