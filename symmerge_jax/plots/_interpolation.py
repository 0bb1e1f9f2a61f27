"""Means with their errors against a parameter, one panel for each setting."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def mean_curves(
    panels: Mapping[str, Mapping[str, tuple[Any, Any, Any]]],
    xlabel: str,
    ylabel: str | None = None,
    *,
    names: Sequence[str] | None = None,
    num_columns: int = 3,
    markers: bool = False,
    styles: Mapping[str, _style.Style] | None = None,
    log_scale: Collection[str] = (),
) -> "Figure":
    """Draw mean curves with bands of one error around them, a line for each method.

    A method looks the same in all panels: a colour, and one of three dash patterns, so
    that lines that lie on each other can be told apart. One legend serves all panels.

    Args:
      panels: by title, ``(x [T], mean [T], error [T])`` of every method by name; an
        error that is NaN is not drawn.
      xlabel: what runs along the axis, with its unit.
      ylabel: what was measured, with its unit, in all panels, which share the axis;
        None where the titles say it and each panel has an axis of its own.
      names: all methods in the order of the legend, also ones that are not drawn here,
        for the same colours in several figures; those of ``panels`` if None.
      num_columns: panels side by side, at most.
      markers: mark the points, for curves of few points.
      styles: how methods are drawn, by name; others get the colours that are left.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: for no panels, a panel without lines, arrays that do not fit, a method
        that is not in ``names``, or an unknown title in ``log_scale``.
    """
    if not panels or not all(panels.values()):
        raise ValueError("there is nothing to draw: no panels, or an empty one")
    drawn = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    names = drawn if names is None else list(names)
    if unknown := [name for name in drawn if name not in names]:
        raise ValueError(f"names has no {unknown[0]!r}, which a panel draws")
    if unknown := set(log_scale) - set(panels):
        raise ValueError(f"log_scale names no panel: {', '.join(sorted(unknown))}")
    looks = _style.assign_styles(names, styles)
    num_columns = min(num_columns, len(panels))
    num_rows = -(-len(panels) // num_columns)
    width = _style.COLUMN_WIDTH if num_columns == 1 else _style.TEXT_WIDTH
    height = max(1.65, 0.68 * width / num_columns)
    legend_columns = _style.legend_columns(drawn, width)
    legend_rows = -(-len(drawn) // legend_columns)
    figure, axes = _style.new_figure(
        width, height * num_rows + 0.15 * legend_rows, num_rows, num_columns
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
            handles[name] = _draw(axis, name, curve, looks[name], markers)
        axis.set_title(title)
        if title in log_scale:
            axis.set_yscale("log")
        axis.margins(x=0.01)
    for axis in axes.flat[max(len(panels) - num_columns, 0) : len(panels)]:
        axis.set_xlabel(xlabel)
    if ylabel is not None and num_rows == 1:
        axes.flat[0].set_ylabel(ylabel)  # beside the axes, not beside the legend too
    elif ylabel is not None:
        figure.supylabel(ylabel)
    ordered = sorted(handles, key=names.index)
    figure.legend(
        [handles[name] for name in ordered],
        ordered,
        loc="outside lower center",
        ncols=legend_columns,
    )
    return figure


def _draw(axis, name: str, curve: tuple, style: _style.Style, markers: bool):
    x, mean, error = (np.asarray(part, float) for part in curve)
    if x.ndim != 1 or not x.shape == mean.shape == error.shape:
        raise ValueError(
            f"curve {name!r} must have x, mean and error of one shape [T], got"
            f" {x.shape}, {mean.shape} and {error.shape}"
        )
    color, dash, marker = style
    axis.fill_between(
        x, mean - error, mean + error, color=color, alpha=0.2, linewidth=0
    )
    [line] = axis.plot(
        x,
        mean,
        color=color,
        linestyle=_style.DASHES[dash],
        zorder=2 + dash / 3,  # dashes above what is solid
        marker=marker if markers else None,
    )
    return line
