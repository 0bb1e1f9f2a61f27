"""Ridge regression of a layer's outputs, towards the weights that it has.

The change `D` of the weights minimises, over the rows with inputs `x` and with what
the outputs lack `y`,

    `mean |y - D'(x - mean x) - mean y|^2 + ridge * (trace(xx) / I) * |D|^2`,

so that weights that leave nothing to be wished for stay as they are. The ridge is the
one of `RIDGES` that predicts best between two halves of the samples; the last one is
infinite, and means no change.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy import linalg

from symmerge_jax.merging._rows import Sums

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Tried one after the other, in units of the mean square of an input."""


class Solution(NamedTuple):
    """What a regression found.

    Attributes:
      change: `[G, I, O]` of the weights.
      shift: `[G, O]` of the bias.
      ridge: the one that was chosen; infinite if nothing predicts better than nothing.
      before: mean square of what the outputs lack, over the mean square wanted.
      after: the same behind the change, on the half that it was not fitted to.
    """

    change: np.ndarray
    shift: np.ndarray
    ridge: float
    before: float
    after: float


def solve(halves: tuple[Sums, Sums], power: float, *, centred: bool) -> Solution:
    """Return the change of weights that two halves of the samples agree on.

    Args:
      halves: sums over the samples, `y` is what the outputs lack.
      power: mean square of what the layer should compute, summed over its outputs.
      centred: whether a constant may be added to each output.
    """
    first, second = (
        jax.tree.map(lambda x: np.asarray(x, np.float64), sums) for sums in halves
    )
    both = jax.tree.map(lambda a, b: a + b, first, second)
    pairs = [(_moments(first, centred), _moments(second, centred))]
    pairs.append((pairs[0][1], pairs[0][0]))
    lack = sum(test.yy.sum() for _, test in pairs) / 2
    errors = np.zeros(len(RIDGES))
    for fit, test in pairs:
        for number, ridge in enumerate(RIDGES):
            try:
                errors[number] += _error(_change(fit, ridge), test) / 2
            except linalg.LinAlgError:  # below the rounding of the sums
                errors[number] = np.inf
    best = int(np.argmin(errors))
    whole, scale = _moments(both, centred), max(power, np.finfo(float).tiny)
    if not errors[best] < lack:
        change, ridge, after = np.zeros_like(whole.xy), np.inf, lack
    else:
        change, ridge = _change(whole, RIDGES[best]), RIDGES[best]
        after = errors[best]
    shift = np.zeros_like(whole.y)
    if centred:
        shift = whole.y - np.einsum("gi,gio->go", whole.x, change)
    return Solution(change, shift, ridge, float(lack / scale), float(after / scale))


def _moments(sums: Sums, centred: bool) -> Sums:
    """Return means in place of sums, about the means of inputs and outputs."""
    count = max(float(sums.count), 1.0)
    x, y, xx, xy, yy = (v / count for v in sums[1:])
    if centred:
        xx = xx - x[:, :, None] * x[:, None, :]
        xy = xy - x[:, :, None] * y[:, None, :]
        yy = np.maximum(yy - y * y, 0)
    return Sums(count, x, y, xx, xy, yy)


def _change(moments: Sums, ridge: float) -> np.ndarray:
    """Return the weights of the regression, `[G, I, O]`."""
    found = np.zeros_like(moments.xy)
    for group, (xx, xy) in enumerate(zip(moments.xx, moments.xy, strict=True)):
        size = len(xx)
        mean_square = np.trace(xx) / size
        if not mean_square > 0:
            continue
        lifted = xx + ridge * mean_square * np.eye(size)
        found[group] = linalg.cho_solve(linalg.cho_factor(lifted), xy)
    return found


def _error(change: np.ndarray, test: Sums) -> float:
    """Return the mean square that is left of the outputs of other rows."""
    fitted = np.einsum("gio,gio->", change, test.xy)
    square = np.einsum("gio,gio->", change, np.matmul(test.xx, change))
    return float(test.yy.sum() - 2 * fitted + square)
