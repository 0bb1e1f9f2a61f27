"""How far latents lie from each other: twins beside twins of other networks."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_COLUMNS = 4


@_style.styled
def distance_panels(
    distances: Mapping[str, ArrayLike], group_size: int, *, label: str
) -> "Figure":
    """Draw distances between all pairs, one panel for each encoder, on one scale.

    Args:
      distances: by encoder ``[M, M]`` distances, all of the same things.
      group_size: how many neighbouring rows belong together; lines part the groups.
      label: what the distances are, with their unit.

    Returns:
      The figure; more than four encoders go on in another row. The scale ends at the
      99th percentile of all.

    Raises:
      ValueError: for nothing to draw, matrices that are not square or not of one size,
        or a size that groups do not fill.
    """
    found = {name: np.asarray(x, float) for name, x in distances.items()}
    if not found:
        raise ValueError("there is nothing to draw: no distances")
    count = len(next(iter(found.values())))
    for name, x in found.items():
        if x.shape != (count, count) or count % group_size:
            raise ValueError(
                f"distances of {name!r} must be square, like all others, and a multiple"
                f" of {group_size} wide, got {x.shape}"
            )
    num_columns = min(_MAX_COLUMNS, len(found))
    num_rows = -(-len(found) // num_columns)
    width = _style.COLUMN_WIDTH if num_columns < 3 else _style.TEXT_WIDTH
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
        axis.grid(visible=False)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(textwrap.fill(name, 20), pad=3)
    for axis in axes.flat[len(found) :]:
        axis.remove()
    bar = figure.colorbar(
        drawn, ax=figure.axes, location="right", extend="max", shrink=0.8, aspect=30
    )
    bar.set_label(label)
    return figure
