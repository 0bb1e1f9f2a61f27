"""Means with their errors against a parameter, one panel for each setting."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES: Any = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


@_style.styled
def mean_curves(
    panels: Mapping[str, Mapping[str, tuple[Any, Any, Any]]],
    xlabel: str,
    ylabel: str | None = None,
    *,
    names: Sequence[str] | None = None,
    num_columns: int = 3,
    markers: bool = False,
    dashed: Collection[str] | None = None,
    log_scale: Collection[str] = (),
) -> "Figure":
    """Draw mean curves with bands of one error around them, a line for each method.

    A method looks the same in all panels: its place in ``names`` gives it a colour and
    one of three dash patterns, so that lines that lie on each other can be told apart.
    One legend serves all.

    Args:
      panels: by title, ``(x [T], mean [T], error [T])`` of every method by name; an
        error that is NaN is not drawn.
      xlabel: what runs along the axis, with its unit.
      ylabel: what was measured, with its unit, in all panels, which share the axis;
        None where the titles say it and each panel has an axis of its own.
      names: all methods in the order of their colours, also ones that are not drawn
        here, for the same colours in several figures; those of ``panels`` if None.
      num_columns: panels side by side, at most.
      markers: mark the points, for curves of few points.
      dashed: the methods that are dashed, all others being solid; None for a pattern by
        place.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: for no panels, a panel without lines, arrays that do not fit, a method
        that is not in ``names``, or an unknown name in ``dashed`` or ``log_scale``.
    """
    if not panels or not all(panels.values()):
        raise ValueError("there is nothing to draw: no panels, or an empty one")
    drawn = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    names = drawn if names is None else list(names)
    if unknown := [name for name in drawn if name not in names]:
        raise ValueError(f"names has no {unknown[0]!r}, which a panel draws")
    if unknown := set(dashed or ()) - set(names):
        raise ValueError(f"dashed names no method: {', '.join(sorted(unknown))}")
    if unknown := set(log_scale) - set(panels):
        raise ValueError(f"log_scale names no panel: {', '.join(sorted(unknown))}")
    styles = {
        name: _DASHES[place % 3 if dashed is None else name in dashed]
        for place, name in enumerate(names)
    }
    num_columns = min(num_columns, len(panels))
    num_rows = -(-len(panels) // num_columns)
    legend_rows = -(-len(drawn) // max(2, 2 * num_columns - 1))
    figure, axes = _style.new_figure(
        max(3.1 * num_columns, 4.2),
        2.3 * num_rows + 0.2 * legend_rows,
        num_rows,
        num_columns,
    )
    for axis in axes.flat[1:]:
        axis.sharex(axes.flat[0])
        if ylabel is not None:
            axis.sharey(axes.flat[0])
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    handles = {}
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        for name, curve in lines.items():
            place = names.index(name)
            handles[name] = _draw(axis, name, curve, place, styles[name], markers)
        axis.set_title(title)
        if title in log_scale:
            axis.set_yscale("log")
        axis.margins(x=0.01)
    for axis in axes.flat[max(len(panels) - num_columns, 0) : len(panels)]:
        axis.set_xlabel(xlabel)
    if ylabel is not None:
        figure.supylabel(ylabel, fontsize=9)
    ordered = sorted(handles, key=names.index)
    figure.legend(
        [handles[name] for name in ordered],
        ordered,
        loc="outside lower center",
        ncols=max(2, 2 * num_columns - 1),
    )
    return figure


def _draw(axis, name: str, curve: tuple, place: int, style: Any, markers: bool):
    x, mean, error = (np.asarray(part, float) for part in curve)
    if x.ndim != 1 or not x.shape == mean.shape == error.shape:
        raise ValueError(
            f"curve {name!r} must have x, mean and error of one shape [T], got"
            f" {x.shape}, {mean.shape} and {error.shape}"
        )
    color = _style.COLORS[place % len(_style.COLORS)]
    axis.fill_between(
        x, mean - error, mean + error, color=color, alpha=0.2, linewidth=0
    )
    [line] = axis.plot(
        x,
        mean,
        color=color,
        linestyle=style,
        zorder=2 + place % 3 / 3,  # dashes above what is solid
        marker=_style.MARKERS[place % len(_style.MARKERS)] if markers else None,
    )
    return line
