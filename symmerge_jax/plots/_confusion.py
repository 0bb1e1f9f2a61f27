"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def confusion_matrix(
    counts: ArrayLike, *, names: Sequence[str] | None = None
) -> "Figure":
    """Draw how often class by class was predicted, in percent of the true class.

    Args:
      counts: ``[C, C]``, row the true class, column the predicted one.
      names: text of class ``c`` at index ``c``; the number when ``None``.

    Returns:
      The figure.

    Raises:
      ValueError: when ``counts`` is not square, or ``names`` are too few or too many.
    """
    counts = np.asarray(counts, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"counts must be [C, C], got {counts.shape}")
    num_classes = len(counts)
    names = [str(c) for c in range(num_classes)] if names is None else list(names)
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} names for {num_classes} classes")
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 0.9 + 0.27 * num_classes
    figure, axes = _style.new_figure(side, side)
    axis = axes[0, 0]
    axis.grid(visible=False)
    axis.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(percent):
        if value >= 0.5:
            color = "white" if value > 60 else "black"
            axis.text(
                column, row, f"{value:.0f}", ha="center", va="center", color=color
            )
    axis.set_xticks(range(num_classes), names)
    axis.set_yticks(range(num_classes), names)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class, of which %")
    return figure
