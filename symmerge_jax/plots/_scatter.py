"""Points in the plane with one colour for each class, e.g. a map of latents."""

from collections.abc import Sequence
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
    figure, axes = _style.new_figure(4.6, 3.6)
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
