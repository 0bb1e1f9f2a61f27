"""What happens on the way from one network to another."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from symmerge_jax.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_style.styled
def paths(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    dashed: Collection[str] = (),
    log_scale: Collection[str] = (),
) -> "Figure":
    """Draw measures along interpolation paths, a line for each method.

    A method has the same colour in all panels. With several pairs the line is the mean
    and the band around it the standard error of the mean.

    Args:
      panels: by title, the values of every method by name: ``[T]`` at evenly spaced
        points from 0 to 1, or ``[N, T]`` for ``N`` pairs.
      dashed: names of the methods to draw with dashes.
      log_scale: titles of the panels with a logarithmic axis.

    Returns:
      The figure.

    Raises:
      ValueError: for no panels, a panel without lines, or an unknown name or title.
    """
    if not panels or not all(panels.values()):
        raise ValueError("there is nothing to draw: no panels, or an empty one")
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    if unknown := set(dashed) - set(names):
        raise ValueError(f"dashed names no method: {', '.join(sorted(unknown))}")
    if unknown := set(log_scale) - set(panels):
        raise ValueError(f"log_scale names no panel: {', '.join(sorted(unknown))}")
    num_columns = min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure, axes = _style.new_figure(
        3.4 * num_columns, 2.4 * num_rows + 0.2 * -(-len(names) // 2), num_rows,
        num_columns,
    )  # fmt: skip
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    handles = {}
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        for name, values in lines.items():
            handles[name] = _draw(axis, values, names.index(name), name in dashed)
        axis.set_title(title)
        axis.set_xlabel("λ")
        axis.set_xlim(0, 1)
        if title in log_scale:
            axis.set_yscale("log")
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=2
    )
    return figure


def _draw(axis, values, index, is_dashed):
    values = np.atleast_2d(np.asarray(values, float))
    lams = np.linspace(0, 1, values.shape[1])
    mean = values.mean(axis=0)
    color = _style.COLORS[index % len(_style.COLORS)]
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        axis.fill_between(
            lams, mean - error, mean + error, color=color, alpha=0.2, linewidth=0
        )
    [line] = axis.plot(lams, mean, color=color, linestyle="--" if is_dashed else "-")
    return line
