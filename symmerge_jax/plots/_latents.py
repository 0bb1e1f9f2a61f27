"""Maps of latents: a row for each kind of map, a column for each encoder."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.typing import ArrayLike

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_COLUMNS = 4


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
) -> "Figure":
    """Draw the same networks in several maps, with one legend for all.

    The axes carry no numbers, as those of an embedding mean nothing. Points are drawn
    in one mixed order, so that the last class hides no other; pale where an orbit is
    drawn above them.

    Args:
      maps: by kind of map and encoder ``[N, 2]`` coordinates; every kind has the same
        encoders.
      values: ``[N]`` integer classes, drawn in as many colours, or numbers, drawn on a
        continuous scale that is cut off at the lowest 5 %.
      names: text of class ``c`` at index ``c``; the number when ``None``.
      values_label: what numbers are, with their unit, beside their scale.
      orbits: coordinates ``[K, 2]`` of twins in the same maps.
      orbit_label: text of the twins in the legend.
      network: number of the network whose twins they are, which is marked too.

    Returns:
      The figure; more than four encoders go on in another row.

    Raises:
      ValueError: for no maps, shapes that do not fit, or ``names`` that are too few.
    """
    values = np.asarray(values)
    points = _checked(maps, len(values))
    encoders = list(next(iter(points.values())))
    is_class = np.issubdtype(values.dtype, np.integer)
    classes = np.unique(values) if is_class else np.array([])
    if names is not None and len(classes) and not 0 <= classes.max() < len(names):
        raise ValueError(f"class {classes.max()} has no name: {len(names)} given")
    num_columns = min(_MAX_COLUMNS, len(encoders))
    rows_per_kind = -(-len(encoders) // num_columns)
    width = _style.COLUMN_WIDTH if num_columns < 3 else _style.TEXT_WIDTH
    side = (width if is_class else width - 0.8) / num_columns
    num_rows = rows_per_kind * len(points)
    figure, axes = _style.new_figure(
        width,
        side * num_rows + (0.4 if orbits is None else 0.6),
        num_rows,
        num_columns,
        padding=0.025,
    )
    order = np.random.default_rng(0).permutation(len(values))
    size = float(np.clip(1500 * side**2 / max(len(values), 1), 0.6, 14))
    alpha = 1.0 if orbits is None else 0.3
    style: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    colors: dict[Any, str] = {}
    if is_class:
        colors = {
            c: _style.COLORS[i % len(_style.COLORS)] for i, c in enumerate(classes)
        }
        style["c"] = [colors[value] for value in values[order]]
    else:
        style |= {"c": values[order], "cmap": "viridis"}
        style |= {"vmin": np.quantile(values, 0.05), "vmax": values.max()}
    drawn: Any = None
    for row, (kind, by_encoder) in enumerate(points.items()):
        block = axes[row * rows_per_kind : (row + 1) * rows_per_kind]
        block[0, 0].set_ylabel(kind)
        for axis in block.flat[len(encoders) :]:
            axis.remove()
        for axis, encoder in zip(block.flat, encoders, strict=False):
            where = by_encoder[encoder]
            drawn = axis.scatter(*where[order].T, alpha=alpha, **style)
            if orbits is not None:
                _draw_orbit(axis, np.asarray(orbits[kind][encoder]))
                if network is not None:
                    _draw_network(axis, where[network])
            _frame(axis)
            if row == 0 or rows_per_kind > 1:
                axis.set_title(textwrap.fill(encoder, 20), pad=3)
    axis = axes[0, 0]
    handles: dict[Any, Any]
    if len(classes) > 1:
        handles = {
            str(c) if names is None else names[c]: axis.scatter(
                [], [], s=14, color=colors[c], linewidths=0
            )
            for c in classes
        }
        _legend(figure, handles, "lower", width)
    if orbits is not None:
        handles = {orbit_label: _draw_orbit(axis, np.empty((0, 2)))}
        if network is not None:
            handles["the network itself"] = _draw_network(axis, (np.nan, np.nan))
        _legend(figure, handles, "upper", width)
    if not is_class:
        import matplotlib.cm

        opaque = matplotlib.cm.ScalarMappable(drawn.norm, drawn.cmap)
        bar = figure.colorbar(
            opaque,
            ax=figure.axes,
            location="right",
            extend="min",
            shrink=0.8,
            aspect=30,
        )
        bar.set_label(values_label or "")
    return figure


def _checked(maps, num_points: int) -> dict[str, dict[str, np.ndarray]]:
    points = {
        kind: {name: np.asarray(where) for name, where in by_encoder.items()}
        for kind, by_encoder in maps.items()
    }
    if not points or not all(points.values()):
        raise ValueError("there is nothing to draw: no maps, or no encoders")
    encoders = next(iter(points.values())).keys()
    for kind, by_encoder in points.items():
        if by_encoder.keys() != encoders:
            raise ValueError(
                f"the maps of {kind!r} are those of {list(by_encoder)}, not of"
                f" {list(encoders)}"
            )
        for name, where in by_encoder.items():
            if where.shape != (num_points, 2):
                raise ValueError(
                    f"{kind} of {name!r} must be [{num_points}, 2], got {where.shape}"
                )
    return points


def _draw_orbit(axis, where: np.ndarray):
    return axis.scatter(
        *where.T, s=9, c="white", edgecolors="black", linewidths=0.5, zorder=3
    )


def _draw_network(axis, where):
    return axis.scatter(
        *where,
        s=60,
        marker="*",
        c="#F0E442",
        edgecolors="black",
        linewidths=0.6,
        zorder=4,
    )


def _frame(axis) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_box_aspect(1)
    axis.margins(0.04)
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
    for spine in axis.spines.values():
        spine.set_color("#BBBBBB")


def _legend(figure, handles: Mapping[Any, Any], place: str, width: float) -> None:
    short = max(map(len, handles)) <= 2
    columns = len(handles) if short else _style.legend_columns(handles, width)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc=f"outside {place} center",
        ncols=min(columns, len(handles)),
        handlelength=1.0,
        handletextpad=0.2,
        columnspacing=0.7 if short else 1.5,
        borderpad=0.2,
    )
