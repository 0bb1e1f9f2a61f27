"""Curves: metrics over a run, and how cost grows with size."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def training_curves(
    metrics: Mapping[str, tuple[Any, Any]],
    panels: Mapping[str, Sequence[str]] | None = None,
    *,
    log_scale: Sequence[str] = (),
) -> "Figure":
    """Draw metrics against the step, one panel for each group.

    Args:
      metrics: ``(steps [n], values [n])`` by name, e.g. of ``read_metrics``.
      panels: names of the metrics in each panel, by title; every metric in a panel of
        its own when ``None``.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: for no metrics, a panel without one, an unknown metric or title.
    """
    if panels is None:
        panels = {name: (name,) for name in metrics}
    if not panels or not all(panels.values()):
        raise ValueError("there is nothing to draw: no metrics, or an empty panel")
    for title, names in panels.items():
        for name in names:
            if name not in metrics:
                raise ValueError(
                    f"panel {title!r} needs the metric {name!r}; there are: "
                    f"{', '.join(sorted(metrics))}"
                )
    if unknown := set(log_scale) - set(panels):
        raise ValueError(f"log_scale names no panel: {', '.join(sorted(unknown))}")
    num_columns = min(3, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    width = _style.COLUMN_WIDTH if num_columns == 1 else _style.TEXT_WIDTH
    height = max(1.7, 0.68 * width / num_columns)
    figure, axes = _style.new_figure(width, height * num_rows, num_rows, num_columns)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for index, name in enumerate(names):
            steps, values = (np.asarray(part) for part in metrics[name])
            few = len(steps) <= 20
            axis.plot(
                steps,
                values,
                color=_style.COLORS[index % len(_style.COLORS)],
                marker="." if few else None,
                linewidth=1.2 if few else 0.8,
                label=name,
            )
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.margins(x=0.02)
        if title in log_scale:
            axis.set_yscale("log")
        if len(names) > 1:
            axis.legend()
    return figure


@_style.styled
def scaling(
    lines: Mapping[str, tuple[Any, Any]],
    xlabel: str,
    ylabel: str,
    *,
    slope: float | None = 1.0,
) -> "Figure":
    """Draw how something grows with size, on two logarithmic axes.

    Args:
      lines: ``(sizes [n], values [n])`` by name, all > 0.
      xlabel: what the sizes count, e.g. ``edges``.
      ylabel: the values with their unit, e.g. ``seconds per network``.
      slope: exponent of a dashed guide line through the last point of the first line,
        1 for linear growth; ``None`` for no guide.

    Returns:
      The figure.

    Raises:
      ValueError: for no lines or values that are not positive.
    """
    return scaling_panels({xlabel: (lines, slope)}, ylabel)


@_style.styled
def scaling_panels(
    panels: Mapping[str, tuple[Mapping[str, tuple[Any, Any]], float | None]],
    ylabel: str,
) -> "Figure":
    """Draw how something grows with several kinds of size, side by side.

    Args:
      panels: by what the sizes count, the lines and the slope of `scaling`.
      ylabel: the values with their unit.

    Returns:
      The figure.

    Raises:
      ValueError: for no panels, no lines, or values that are not positive.
    """
    if not panels or not all(lines for lines, _ in panels.values()):
        raise ValueError("there is nothing to draw: no lines")
    width = _style.COLUMN_WIDTH if len(panels) == 1 else _style.TEXT_WIDTH
    height = max(2.0, 0.75 * width / len(panels))
    figure, axes = _style.new_figure(width, height, 1, len(panels))
    for axis, (xlabel, (lines, slope)) in zip(axes.flat, panels.items(), strict=True):
        _draw_scaling(axis, lines, slope)
        axis.set_xlabel(xlabel)
        axis.legend()
    axes[0, 0].set_ylabel(ylabel)
    return figure


def _draw_scaling(axis, lines, slope) -> None:
    for index, (name, pair) in enumerate(lines.items()):
        sizes, values = (np.asarray(part, float) for part in pair)
        if not (sizes > 0).all() or not (values > 0).all():
            raise ValueError(f"line {name!r} has values that are not positive")
        axis.plot(
            sizes,
            values,
            color=_style.COLORS[index % len(_style.COLORS)],
            marker=_style.MARKERS[index % len(_style.MARKERS)],
            label=name,
        )
    if slope is not None:
        sizes, values = (np.asarray(p, float) for p in next(iter(lines.values())))
        last = np.argmax(sizes)
        ends = np.array([sizes.min(), sizes.max()])
        axis.plot(
            ends,
            values[last] * (ends / sizes[last]) ** slope,
            color="#7F7F7F",
            linestyle="--",
            linewidth=1.0,
            zorder=1,
            label=f"slope {slope:g}",
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
