"""The spaces of a network in a row, with arcs for the parameters between them."""

import math
from collections.abc import Mapping, Sequence

from symmerge_jax.plots import _style


@_style.styled
def space_diagram(
    sizes: Mapping[str, int],
    kinds: Mapping[str, str],
    links: Sequence[tuple[str, str]],
) -> _style.Figure:
    """Draw the spaces of a network, as `Network.diagram` returns them.

    Spaces stand below each other in the order of computation, their areas as their
    numbers of neurons, their colours by what may be done to them. An arc to the right
    is a parameter that reads one space and writes a later one, an arc to the left one
    that writes an earlier space again: a residual stream, a recurrence.

    Args:
      sizes: number of neurons per space, in the order of computation.
      kinds: per space what may be done to its neurons, in words.
      links: the spaces that parameters read and write.

    Returns:
      The figure.

    Raises:
      ValueError: no spaces, or a link to a space that is not there.
    """
    from matplotlib import lines, patches

    if not sizes:
        raise ValueError("There are no spaces to draw.")
    if unknown := [n for pair in links for n in pair if n not in sizes]:
        raise ValueError(f"links name the unknown space {unknown[0]!r}.")
    height = 0.6 + 0.2 * len(sizes) + 0.15 * len(set(kinds.values()))
    figure, axes = _style.new_figure(_style.TEXT_WIDTH, height)
    axis = axes[0, 0]
    row = {name: -i for i, name in enumerate(sizes)}
    colors = dict(zip(dict.fromkeys(kinds.values()), _style.COLORS, strict=False))
    for read, written in dict.fromkeys(links):
        span = row[read] - row[written]
        arc = patches.Arc(
            (0, (row[read] + row[written]) / 2),
            width=2 * math.sqrt(abs(span)),
            height=max(abs(span), 0.5),
            theta1=-90 if span > 0 else 90,
            theta2=90 if span > 0 else 270,
            color="#999999",
            linewidth=0.7,
        )
        axis.add_patch(arc)
    largest = max(sizes.values())
    axis.scatter(
        [0] * len(sizes),
        list(row.values()),
        s=[8 + 60 * size / largest for size in sizes.values()],
        c=[colors[kinds[name]] for name in sizes],
        zorder=2,
    )
    reach = max([abs(row[a] - row[b]) for a, b in links], default=1)
    right = math.sqrt(max(reach, 1)) + 0.5
    for name, size in sizes.items():
        axis.text(right, row[name], f"{name} ({size})", va="center", fontsize=7)
    axis.set(xlim=(-right, 4 * right), ylim=(-len(sizes) + 0.3, 0.7))
    axis.set_axis_off()
    handles = [
        lines.Line2D([], [], marker="o", linestyle="", color=color, label=kind)
        for kind, color in colors.items()
    ]
    axis.legend(handles=handles, loc="upper right", fontsize=7)
    return figure
