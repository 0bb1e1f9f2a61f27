"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style


@_style.styled
def confusion_matrix(
    counts: ArrayLike, *, names: Sequence[str] | None = None
) -> _style.Figure:
    """Draw how often each class was predicted, in percent of the true class.

    Args:
      counts: `[C, C]`; rows are true classes, columns predicted ones.
      names: the classes' names; their numbers if None.

    Returns:
      The figure.

    Raises:
      ValueError: if `counts` is not square, or there are not as many `names`.
    """
    counts = np.asarray(counts, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"counts must be [C, C], got {counts.shape}.")
    classes = range(len(counts))
    names = [str(c) for c in classes] if names is None else list(names)
    if len(names) != len(counts):
        raise ValueError(f"There are {len(names)} names for {len(counts)} classes.")
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 0.9 + 0.27 * len(counts)
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
    axis.set_xticks(classes, names)
    axis.set_yticks(classes, names)
    axis.set(xlabel="predicted class", ylabel="true class, of which %")
    return figure
