"""Rows of small images, or signals, e.g. originals above reconstructions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def image_rows(
    rows: Sequence[ArrayLike],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    *,
    vmin: float = 0.0,
    vmax: float = 1.0,
) -> "Figure":
    """Draw grey images in rows; column ``j`` shows the same thing in every row.

    An image of one row of pixels is a signal and drawn as a curve.

    Args:
      rows: one array ``[M, H, W]`` for each row, pixels where ``vmin`` is black (a
        curve at the bottom) and ``vmax`` white (at the top). All rows have the same
        ``M``; sizes may differ.
      row_labels: text at the left of each row.
      column_labels: text above each column.
      vmin: value shown black, or at the bottom.
      vmax: value shown white, or at the top.

    Returns:
      The figure.

    Raises:
      ValueError: for no rows, rows of another rank or length, or labels that do not
        match in number.
    """
    images = [np.asarray(row) for row in rows]
    if not images or images[0].ndim != 3 or not images[0].shape[0]:
        raise ValueError("rows must hold at least one array [M, H, W] with M >= 1")
    num_columns = images[0].shape[0]
    for index, row in enumerate(images):
        if row.ndim != 3 or row.shape[0] != num_columns:
            raise ValueError(
                f"row {index} has shape {row.shape}, expected [{num_columns}, H, W]"
            )
    for name, labels, count in (
        ("row_labels", row_labels, len(rows)),
        ("column_labels", column_labels, num_columns),
    ):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{len(labels)} {name} for {count} of them")
    left = 0.0
    if row_labels is not None:
        lines = [line for label in row_labels for line in label.split("\n")]
        left = 0.2 + 0.06 * max(map(len, lines))
    top = 0.2 if column_labels is not None else 0.0
    size = min(0.62, (_style.TEXT_WIDTH - left) / num_columns)
    figure, axes = _style.new_figure(
        left + size * num_columns,
        top + size * len(rows),
        len(rows),
        num_columns,
        padding=0.015,
    )
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            axis = axes[i, j]
            if len(image) == 1:
                axis.plot(image[0], color="black", linewidth=0.8)
                # Curves that touch the ends are drawn whole.
                margin = 0.05 * (vmax - vmin)
                axis.set_ylim(vmin - margin, vmax + margin)
            else:
                axis.imshow(image, cmap="gray", vmin=vmin, vmax=vmax)
            axis.grid(False)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
        if row_labels is not None:
            axes[i, 0].set_ylabel(
                row_labels[i], rotation=0, ha="right", va="center", labelpad=4
            )
    if column_labels is not None:
        for axis, label in zip(axes[0], column_labels, strict=True):
            axis.set_title(label, fontsize=7, pad=3)
    return figure
