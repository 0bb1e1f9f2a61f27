"""Rows of small images or signals, such as originals above reconstructions."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style


@_style.styled
def image_rows(
    rows: Sequence[ArrayLike],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    *,
    vmin: float = 0.0,
    vmax: float = 1.0,
) -> _style.Figure:
    """Draw grey images in rows; column `j` shows the same thing in every row.

    An image of one row of pixels is a signal and drawn as a curve.

    Args:
      rows: one array `[M, H, W]` per row of the figure. All have the same `M`; sizes of
        images may differ from row to row.
      row_labels: text at the left of each row.
      column_labels: text above each column.
      vmin: value that is black, or at the bottom of a curve's panel.
      vmax: value that is white, or at the top.

    Returns:
      The figure.

    Raises:
      ValueError: if there are no rows, their shapes do not fit, or there are not as
        many labels as rows or columns.
    """
    images = [np.asarray(row) for row in rows]
    if not images or images[0].ndim != 3 or not images[0].shape[0]:
        raise ValueError("rows must hold at least one array [M, H, W] with M >= 1.")
    num_columns = images[0].shape[0]
    for index, row in enumerate(images):
        if row.ndim != 3 or row.shape[0] != num_columns:
            raise ValueError(
                f"row {index} has shape {row.shape}, expected [{num_columns}, H, W]."
            )
    for name, labels, count in (
        ("row_labels", row_labels, len(rows)),
        ("column_labels", column_labels, num_columns),
    ):
        if labels is not None and len(labels) != count:
            raise ValueError(f"There are {len(labels)} {name} for {count} of them.")
    left = 0.0
    if row_labels is not None:
        lines = [line for label in row_labels for line in label.split("\n")]
        left = 0.2 + 0.06 * max(map(len, lines))
    top = 0.2 if column_labels is not None else 0.0
    size = min(0.62, (_style.TEXT_WIDTH - left) / num_columns)
    width, height = left + size * num_columns, top + size * len(rows)
    figure, axes = _style.new_figure(
        width, height, len(rows), num_columns, padding=0.015
    )
    for (i, j), axis in np.ndenumerate(axes):
        image = images[i][j]
        if len(image) == 1:
            axis.plot(image[0], color="black", linewidth=0.8)
            margin = 0.05 * (vmax - vmin)  # curves at the ends are drawn whole
            axis.set_ylim(vmin - margin, vmax + margin)
        else:
            axis.imshow(image, cmap="gray", vmin=vmin, vmax=vmax)
        _style.without_ticks(axis)
        axis.spines[:].set_visible(False)
    if row_labels is not None:
        for axis, label in zip(axes[:, 0], row_labels, strict=True):
            axis.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=4)
    if column_labels is not None:
        for axis, label in zip(axes[0], column_labels, strict=True):
            axis.set_title(label, fontsize=7, pad=3)
    return figure
