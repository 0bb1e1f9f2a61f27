"""Distances between latents: twins beside twins of other networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style


@_style.styled
def distance_panels(
    distances: Mapping[str, ArrayLike], group_size: int, *, label: str
) -> _style.Figure:
    """Draw distances between all pairs, one panel per encoder, on one scale.

    Args:
      distances: by encoder, the distances `[M, M]` between the same things.
      group_size: rows of each group; lines separate the groups.
      label: what the distances are, with their unit.

    Returns:
      The figure, with at most four panels in a row. The scale ends at the 99th
      percentile of all distances.

    Raises:
      ValueError: if there is nothing to draw, or the matrices are not square, not of
        one size, or not a whole number of groups.
    """
    _style.check_panels(distances)
    found = {name: np.asarray(x, float) for name, x in distances.items()}
    count = len(next(iter(found.values())))
    for name, x in found.items():
        if x.shape != (count, count) or count % group_size:
            raise ValueError(
                f"distances of {name!r} must be square, like all others, and a multiple"
                f" of {group_size} wide, got {x.shape}."
            )
    num_columns, num_rows = _style.grid_shape(len(found), 4)
    width = _style.page_width(num_columns, narrow=2)
    side = (width - 0.6) / num_columns
    figure, axes = _style.new_figure(
        width, (side + 0.35) * num_rows, num_rows, num_columns, padding=0.025
    )
    scale = {"vmin": 0.0, "vmax": max(np.quantile([*found.values()], 0.99), 1e-30)}
    drawn: Any = None
    for axis, (name, x) in zip(axes.flat, found.items(), strict=False):
        drawn = axis.imshow(x, cmap="viridis", **scale)
        for place in range(group_size, count, group_size):
            axis.axhline(place - 0.5, color="white", linewidth=0.4)
            axis.axvline(place - 0.5, color="white", linewidth=0.4)
        _style.without_ticks(axis)
        axis.set_title(_style.wrapped(name, side), pad=3)
    for axis in axes.flat[len(found) :]:
        axis.remove()
    _style.color_bar(figure, drawn, label, extend="max")
    return figure
