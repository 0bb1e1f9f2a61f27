"""Whether parents number their outputs alike: no alignment may reorder these."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import optimize

_LEAST_GAIN = 0.2
"""Mean correlation that another order must gain before it is worth a word."""
_MAX_OUTPUTS = 4096


def warn_of_other_order(outputs: Sequence[Any]) -> None:
    """Say so where outputs of a parent agree with the first's in another order.

    Args:
      outputs: `[S, ..., C]` of every parent, on the same inputs.
    """
    first = _standardised(outputs[0])
    if first is None:
        return
    for number, values in enumerate(outputs[1:], 1):
        correlation = first.T @ _standardised(values) / len(first)
        rows, order = optimize.linear_sum_assignment(-correlation)
        moved = np.flatnonzero(order != rows)
        gain = (correlation[rows, order] - np.diag(correlation)).sum() / len(rows)
        if gain * len(rows) / max(len(moved), 1) <= _LEAST_GAIN or gain <= 0:
            continue
        one = int(moved[0])
        logging.getLogger(__name__).warning(
            "repair: parents seem to number their outputs in another way: output %d of"
            " parent 0 is like output %d of parent %d (correlation %.2f) and not like"
            " its own number (%.2f). Bring the classes into one order first.",
            one,
            int(order[one]),
            number,
            correlation[one, order[one]],
            correlation[one, one],
        )


def _standardised(values: Any) -> np.ndarray | None:
    """Return outputs as rows of mean zero and variance one, None if there are none."""
    array = np.asarray(values)
    if array.ndim < 2 or not 2 <= array.shape[-1] <= _MAX_OUTPUTS:
        return None
    if array.dtype.kind not in "f" or array[..., 0].size < 2:
        return None
    rows = array.reshape(-1, array.shape[-1]).astype(np.float64)
    rows = rows - rows.mean(0)
    spread = rows.std(0)
    return rows / np.where(spread > 0, spread, 1)
