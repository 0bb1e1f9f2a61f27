"""One measure against another, as points in the plane."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style


@_style.styled
def versus(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], x_label: str, y_label: str
) -> _style.Figure:
    """Draw one measure against another, with the diagonal; one panel per group.

    Args:
      pairs: by title, the values `[N]` along x and those along y.
      x_label: text below the panels.
      y_label: text beside them.

    Returns:
      The figure; all panels have the same limits.

    Raises:
      ValueError: if there are no pairs, or the two arrays of a group differ in shape.
    """
    _style.check_panels(pairs)
    arrays = {name: tuple(map(np.asarray, pair)) for name, pair in pairs.items()}
    for name, (x, y) in arrays.items():
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"{name}: x and y must be [N], got {x.shape}, {y.shape}.")
    every = np.concatenate([np.concatenate(pair) for pair in arrays.values()])
    margin = 0.03 * max(float(np.ptp(every)), 1e-6)
    limits = (every.min() - margin, every.max() + margin)
    width = _style.page_width(len(arrays))
    height = 0.45 + min(2.6, width / len(arrays))
    figure, axes = _style.new_figure(width, height, num_columns=len(arrays))
    for axis, (name, (x, y)) in zip(axes[0], arrays.items(), strict=True):
        axis.plot(limits, limits, color="#BBBBBB", linewidth=1, zorder=0)
        axis.scatter(x, y, s=6, color=_style.COLORS[0], alpha=0.5, linewidths=0)
        axis.set(xlim=limits, ylim=limits, title=name, xlabel=x_label, aspect="equal")
    axes[0, 0].set_ylabel(y_label)
    return figure
