"""Means with their errors against a parameter, one panel per setting."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from symmerge_jax.plots import _style


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
) -> _style.Figure:
    """Draw mean curves with bands of one error around them, a line per method.

    A method looks the same in all panels: a colour, and one of three dash patterns, so
    that lines that lie on each other can be told apart. One legend serves all panels.

    Args:
      panels: by title and method, `(x [T], mean [T], error [T])`; an error that is NaN
        is not drawn.
      xlabel: what runs along the axis, with its unit.
      ylabel: what was measured, with its unit, in all panels, which share the axis;
        None where the titles say it and each panel has an axis of its own.
      names: all methods in the order of the legend, also ones that are not drawn here,
        for the same colours in several figures; those of `panels` if None.
      num_columns: panels side by side, at most.
      markers: mark the points, for curves of few points.
      styles: how methods are drawn, by name; others get the colours that are left.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, arrays do not fit, a method is not in
        `names`, or a title in `log_scale` is unknown.
    """
    _style.check_panels(panels, log_scale)
    drawn = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    names = drawn if names is None else list(names)
    if unknown := [name for name in drawn if name not in names]:
        raise ValueError(f"names has no {unknown[0]!r}, which a panel draws.")
    looks = _style.assign_styles(names, styles)
    labels = [name for name in names if name in drawn]
    num_columns, num_rows = _style.grid_shape(len(panels), num_columns)
    width = _style.page_width(num_columns)
    legend_columns = _style.legend_columns(labels, width)
    below = 0.15 * -(-len(labels) // legend_columns)
    is_beside = num_columns == 1 and below > 0.9  # higher than a legend should be
    figure, axes = _style.new_panels(
        len(panels), num_columns, below=0.0 if is_beside else below
    )
    if is_beside:
        figure.set_size_inches(_style.TEXT_WIDTH, max(figure.get_figheight(), below))
    for axis in axes[1:]:
        axis.sharex(axes[0])
        if ylabel is not None:
            axis.sharey(axes[0])
    handles = {}
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, curve in lines.items():
            handles[name] = _draw(axis, name, curve, looks[name], markers)
        axis.set_title(_style.wrapped(title, width / num_columns - 0.1))
        axis.margins(x=0.01)
    for axis, title in zip(axes, panels, strict=True):  # when all limits are known
        if title in log_scale:
            _style.log_scale(axis)
    if all((line.get_xdata() % 1 == 0).all() for line in handles.values()):
        axes[0].xaxis.get_major_locator().set_params(integer=True)  # counts
    for axis in axes[-num_columns:]:
        axis.set_xlabel(xlabel)
    if ylabel is not None and num_rows == 1:
        axes[0].set_ylabel(ylabel)  # beside the axes, not beside the legend too
    elif ylabel is not None:
        figure.supylabel(ylabel)
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside right center" if is_beside else "outside lower center",
        ncols=legend_columns,
    )
    return figure


def _draw(axis, name: str, curve: tuple, style: _style.Style, markers: bool):
    x, mean, error = (np.asarray(part, float) for part in curve)
    if x.ndim != 1 or not x.shape == mean.shape == error.shape:
        raise ValueError(
            f"curve {name!r} must have x, mean and error of one shape [T], got"
            f" {x.shape}, {mean.shape} and {error.shape}."
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
