"""Curves: metrics over a run, and how cost grows with size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symmerge_jax.plots import _style


@_style.styled
def training_curves(
    metrics: Mapping[str, tuple[Any, Any]],
    panels: Mapping[str, Sequence[str]] | None = None,
    *,
    log_scale: Sequence[str] = (),
) -> _style.Figure:
    """Draw metrics against the step, one panel per group.

    Args:
      metrics: by name, the steps `[n]` and values `[n]`, as `training.read_metrics`
        returns them.
      panels: by title, the names of the metrics in a panel; None gives every metric a
        panel of its own.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, or a metric or title is unknown.
    """
    panels = {name: (name,) for name in metrics} if panels is None else panels
    _style.check_panels(panels, log_scale)
    for title, names in panels.items():
        if unknown := [name for name in names if name not in metrics]:
            raise ValueError(
                f"panel {title!r} needs the metric {unknown[0]!r}; there are"
                f" {', '.join(sorted(metrics))}."
            )
    figure, axes = _style.new_panels(len(panels))
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
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
        axis.set(title=title, xlabel="step")
        axis.margins(x=0.02)
        if title in log_scale:
            _style.log_scale(axis)
        if len(names) > 1:
            axis.legend()
    return figure


@_style.styled
def scaling(
    panels: Mapping[str, tuple[Mapping[str, tuple[Any, Any]], float | None]],
    ylabel: str,
) -> _style.Figure:
    """Draw how something grows with several kinds of size, on logarithmic axes.

    Args:
      panels: by what the sizes count, such as "edges", the lines and a slope. Lines
        are, by name, sizes `[n]` and values `[n]`, all > 0. The slope is the exponent
        of a dashed line through the last point of the first line, 1 for linear growth;
        None draws no such line.
      ylabel: the values with their unit, such as "seconds per network".

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, or a value is not positive.
    """
    _style.check_panels({xlabel: lines for xlabel, (lines, _) in panels.items()})
    figure, axes = _style.new_panels(len(panels), len(panels), aspect=0.75, least=2.0)
    for axis, (xlabel, (lines, slope)) in zip(axes, panels.items(), strict=True):
        _draw_scaling(axis, lines, slope)
        axis.set_xlabel(xlabel)
        axis.legend()
    axes[0].set_ylabel(ylabel)
    return figure


def _draw_scaling(axis, lines, slope) -> None:
    arrays = [tuple(np.asarray(x, float) for x in pair) for pair in lines.values()]
    for index, (name, pair) in enumerate(zip(lines, arrays, strict=True)):
        if not all((x > 0).all() for x in pair):
            raise ValueError(f"line {name!r} has values that are not positive.")
        axis.plot(
            *pair,
            color=_style.COLORS[index % len(_style.COLORS)],
            marker=_style.MARKERS[index % len(_style.MARKERS)],
            label=name,
        )
    if slope is not None:
        sizes, values = arrays[0]
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
    for direction in "xy":
        _style.log_scale(axis, direction)
