"""Points in the plane: maps of latents, and one measure against another."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def scatter_map(
    points: ArrayLike,
    labels: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw points, coloured and marked by their class.

    The axes carry no numbers, as those of an embedding mean nothing. Points of the
    classes are drawn in one mixed order, so that the last class hides no other.

    Args:
      points: ``[N, 2]`` coordinates.
      labels: ``[N]`` integer classes.
      names: text of class ``c`` at index ``c``; the number when ``None``.
      title: text above the map.

    Returns:
      The figure.

    Raises:
      ValueError: when the shapes do not fit, or ``names`` are too few.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points must be [N, 2] and labels [N], got {points.shape} and "
            f"{labels.shape}"
        )
    classes = np.unique(labels)
    if names is not None and len(classes) and not 0 <= classes.max() < len(names):
        raise ValueError(f"class {classes.max()} has no name: {len(names)} given")
    figure, axes = _style.new_figure(_style.COLUMN_WIDTH, 2.6)
    axis = axes[0, 0]
    size = float(np.clip(4000 / max(len(points), 1), 4, 24))
    order = np.random.default_rng(0).permutation(len(points))
    colors = {c: _style.COLORS[i % len(_style.COLORS)] for i, c in enumerate(classes)}
    axis.scatter(
        *points[order].T, s=size, c=[colors[c] for c in labels[order]], linewidths=0
    )
    for c in classes:
        name = str(c) if names is None else names[c]
        axis.scatter([], [], s=24, color=colors[c], linewidths=0, label=name)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_aspect("equal", adjustable="datalim")
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
    for spine in axis.spines.values():
        spine.set_color("#BBBBBB")
    if title is not None:
        axis.set_title(title)
    if len(classes) > 1:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)
    return figure


@_style.styled
def versus(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], x_label: str, y_label: str
) -> "Figure":
    """Draw one measure against another, a panel for each group, with the diagonal.

    Args:
      pairs: ``[N]`` values along x and along y by the title of their panel.
      x_label: text below the panels.
      y_label: text beside them.

    Returns:
      The figure; all panels share their axes.

    Raises:
      ValueError: when the two arrays of a group differ in shape.
    """
    arrays = {name: tuple(map(np.asarray, pair)) for name, pair in pairs.items()}
    for name, (x, y) in arrays.items():
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"{name}: x and y must be [N], got {x.shape}, {y.shape}")
    every = np.concatenate([np.concatenate(pair) for pair in arrays.values()])
    margin = 0.03 * max(float(np.ptp(every)), 1e-6)
    limits = (every.min() - margin, every.max() + margin)
    width = _style.COLUMN_WIDTH if len(arrays) < 2 else _style.TEXT_WIDTH
    height = 0.45 + min(2.6, width / len(arrays))
    figure, axes = _style.new_figure(width, height, num_columns=len(arrays))
    for axis, (name, (x, y)) in zip(axes[0], arrays.items(), strict=True):
        axis.plot(limits, limits, color="#BBBBBB", linewidth=1, zorder=0)
        axis.scatter(x, y, s=6, color=_style.COLORS[0], alpha=0.5, linewidths=0)
        axis.set(xlim=limits, ylim=limits, title=name, xlabel=x_label, aspect="equal")
    axes[0, 0].set_ylabel(y_label)
    return figure
