"""Maps of latents: a row for each kind of map, a column for each encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

_TWINS = {"s": 9, "c": "white", "edgecolors": "black", "linewidths": 0.5, "zorder": 3}
_NETWORK = {"s": 60, "marker": "*", "c": "#F0E442", "edgecolors": "black"}
_NETWORK |= {"linewidths": 0.6, "zorder": 4}


@_style.styled
def map_panels(
    maps: Mapping[str, Mapping[str, ArrayLike]],
    values: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    values_label: str | None = None,
    orbits: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    orbit_label: str = "twins of one network",
    network: int | None = None,
) -> _style.Figure:
    """Draw the same networks in several maps, with one legend for all.

    The axes carry no numbers, as those of an embedding mean nothing. Points are drawn
    in one mixed order, so that the last class hides no other, and pale where an orbit
    is drawn above them.

    Args:
      maps: by kind of map and encoder, the coordinates `[N, 2]`; every kind has the
        same encoders.
      values: `[N]` integer classes, each in its colour, or numbers on a continuous
        scale, which is cut off at the lowest 5 %.
      names: the classes' names; their numbers if None.
      values_label: what numbers are, with their unit, beside their scale.
      orbits: coordinates `[K, 2]` of twins in the same maps.
      orbit_label: text of the twins in the legend.
      network: number of the network whose twins they are, which is marked too.

    Returns:
      The figure, with at most four encoders in a row.

    Raises:
      ValueError: if there is nothing to draw, shapes do not fit, or a class has no
        name.
    """
    values = np.asarray(values)
    points = _checked(maps, len(values))
    encoders = list(next(iter(points.values())))
    is_class = np.issubdtype(values.dtype, np.integer)
    classes = np.unique(values) if is_class else np.array([])
    if names is not None and len(classes) and not 0 <= classes.max() < len(names):
        raise ValueError(f"Class {classes.max()} has no name: {len(names)} are given.")
    num_columns, rows_per_kind = _style.grid_shape(len(encoders), 4)
    num_rows = rows_per_kind * len(points)
    width = _style.page_width(num_columns, narrow=2)
    side = (width if is_class else width - 0.8) / num_columns
    height = side * num_rows + (0.4 if orbits is None else 0.6)
    figure, axes = _style.new_figure(
        width, height, num_rows, num_columns, padding=0.025
    )
    order = np.random.default_rng(0).permutation(len(values))
    looks, colors = _looks(values[order], classes)
    looks["s"] = float(np.clip(1500 * side**2 / max(len(values), 1), 0.6, 14))
    looks["alpha"] = 1.0 if orbits is None else 0.3
    drawn: Any = None
    for row, (kind, by_encoder) in enumerate(points.items()):
        block = axes[row * rows_per_kind : (row + 1) * rows_per_kind]
        block[0, 0].set_ylabel(kind)
        for axis in block.flat[len(encoders) :]:
            axis.remove()
        for axis, encoder in zip(block.flat, encoders, strict=False):
            where = by_encoder[encoder]
            drawn = axis.scatter(*where[order].T, **looks)
            if orbits is not None:
                axis.scatter(*np.asarray(orbits[kind][encoder]).T, **_TWINS)
                if network is not None:
                    axis.scatter(*where[network], **_NETWORK)
            _frame(axis)
            if row == 0 or rows_per_kind > 1:
                axis.set_title(_style.wrapped(encoder, side - 0.2), pad=3)
    if len(classes) > 1:
        handles = {
            str(c if names is None else names[c]): {"s": 14, "c": color}
            for c, color in colors.items()
        }
        _legend(figure, handles, "lower", width)
    if orbits is not None:
        handles = {orbit_label: _TWINS}
        if network is not None:
            handles["the network itself"] = _NETWORK
        _legend(figure, handles, "upper", width)
    if not is_class:
        import matplotlib.cm

        opaque = matplotlib.cm.ScalarMappable(drawn.norm, drawn.cmap)
        _style.color_bar(figure, opaque, values_label or "", extend="min")
    return figure


def _checked(maps, num_points: int) -> dict[str, dict[str, np.ndarray]]:
    points = {
        kind: {name: np.asarray(where) for name, where in by_encoder.items()}
        for kind, by_encoder in maps.items()
    }
    _style.check_panels(points)
    encoders = next(iter(points.values())).keys()
    for kind, by_encoder in points.items():
        if by_encoder.keys() != encoders:
            raise ValueError(
                f"The maps of {kind!r} are those of {list(by_encoder)}, not of"
                f" {list(encoders)}."
            )
        for name, where in by_encoder.items():
            if where.shape != (num_points, 2):
                raise ValueError(
                    f"{kind} of {name!r} must be [{num_points}, 2], got {where.shape}."
                )
    return points


def _looks(values: np.ndarray, classes: np.ndarray) -> tuple[dict[str, Any], dict]:
    """Return how points of these values are drawn, and the colour of each class."""
    looks: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    if np.issubdtype(values.dtype, np.integer):
        palette = _style.COLORS
        colors = {c: palette[i % len(palette)] for i, c in enumerate(classes)}
        return {**looks, "c": [colors[value] for value in values]}, colors
    limits = {"vmin": np.quantile(values, 0.05), "vmax": values.max()}
    return {**looks, **limits, "c": values, "cmap": "viridis"}, {}


def _frame(axis) -> None:
    _style.without_ticks(axis)
    axis.set_box_aspect(1)
    axis.margins(0.04)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#BBBBBB")


def _legend(figure, looks: Mapping[str, Any], place: str, width: float) -> None:
    """Draw a legend of points in one line, or in as many columns as fit."""
    short = max(map(len, looks)) <= 2
    columns = len(looks) if short else _style.legend_columns(looks, width)
    axis = figure.axes[0]
    figure.legend(
        [axis.scatter([], [], **{"linewidths": 0, **look}) for look in looks.values()],
        looks.keys(),
        loc=f"outside {place} center",
        ncols=columns,
        handlelength=1.0,
        handletextpad=0.2,
        columnspacing=0.7 if short else 1.5,
        borderpad=0.2,
    )
