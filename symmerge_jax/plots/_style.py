"""One look for all figures; figures belong to nobody but the caller.

The colours are those of Okabe and Ito (2008), which people with any common form of
colour blindness can tell apart. Figures are drawn at the size they are printed at, one
column or the text of a page wide, so that sizes of text are those on paper. They are
plain `matplotlib.figure.Figure` objects: no `pyplot`, no global state, no display.
"""

import functools
import pathlib
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

import numpy as np

from symmerge_jax import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any  # matplotlib is imported where something is drawn

P = ParamSpec("P")

COLORS = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
    "#8C6D31",  # brown, ours: the yellow of the palette is too pale on white
    "#7F7F7F",  # grey, ours
    "#7A1FA2",  # violet, ours
)
"""Colours of lines, told apart without colour vision too: those of Okabe and Ito."""
MARKERS = "os^Dv<>Pp*"
DASHES: Any = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
COLUMN_WIDTH = 3.3
"""Inches, of one column of a page with two."""
TEXT_WIDTH = 6.75
"""Inches, of both columns."""


class Style(NamedTuple):
    """How a line is drawn.

    Attributes:
      color: a colour of matplotlib, as one of `COLORS`.
      dash: number of one of `DASHES`: 0 is solid.
      marker: of points; None for one by the place in the legend.
    """

    color: str
    dash: int = 0
    marker: str | None = None


_SETTINGS: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # text stays text, in TrueType as journals want it
}


def assign_styles(
    names: Iterable[str], given: Mapping[str, Style] | None = None
) -> dict[str, Style]:
    """Return how lines are drawn, by name and with a marker, in the legend's order.

    Some styles are given; other lines get the colours that are left.
    """
    names, given = list(names), given or {}
    taken = {given[name].color for name in names if name in given}
    others = [color for color in COLORS if color not in taken] or list(COLORS)
    styles, place = {}, 0
    for index, name in enumerate(names):
        style = given.get(name)
        if style is None:
            style = Style(others[place % len(others)], place % len(DASHES))
            place += 1
        marker = style.marker or MARKERS[index % len(MARKERS)]
        styles[name] = style._replace(marker=marker)
    return styles


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Return `draw` in the common style, which leaves the user's own style alone."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        try:
            import matplotlib
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Figures need matplotlib: pip install 'symmerge_jax[plots]'."
            ) from error
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(
    width: float,
    height: float,
    num_rows: int = 1,
    num_columns: int = 1,
    *,
    padding: float = 0.04,
) -> tuple[Figure, Any]:
    """Make a figure with a grid of axes; call it in a `styled` function.

    Args:
      width: inches.
      height: inches.
      num_rows: rows of axes.
      num_columns: columns of axes.
      padding: inches around each of the axes.

    Returns:
      The figure and its axes `[num_rows, num_columns]`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(
        w_pad=padding, h_pad=padding, rect=(0.01, 0.01, 0.98, 0.98)
    )
    figure = Figure(figsize=(width, height), dpi=200, layout=layout)
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def new_panels(
    count: int,
    num_columns: int = 3,
    *,
    aspect: float = 0.68,
    least: float = 1.7,
    below: float = 0.0,
) -> tuple[Figure, list[Any]]:
    """Return a figure as wide as the page, and the axes of its panels, row by row.

    A panel has this `aspect`, height by width, but at least the height `least`; inches,
    as the space `below` the panels.
    """
    num_columns, num_rows = grid_shape(count, num_columns)
    width = page_width(num_columns)
    height = num_rows * max(least, aspect * width / num_columns) + below
    figure, axes = new_figure(width, height, num_rows, num_columns)
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def grid_shape(count: int, num_columns: int) -> tuple[int, int]:
    """Return the columns and rows of a grid of panels."""
    num_columns = min(num_columns, count)
    return num_columns, -(-count // num_columns)


def page_width(num_columns: int, *, narrow: int = 1) -> float:
    """Return the width of a figure, a column of the page for few panels in a row."""
    return COLUMN_WIDTH if num_columns <= narrow else TEXT_WIDTH


def check_panels(panels: Mapping[str, Any], log_scale: Iterable[str] = ()) -> None:
    """Refuse a figure without panels, an empty panel, and unknown titles."""
    if not panels or not all(map(len, panels.values())):
        raise ValueError("There is nothing to draw: no panels, or an empty one.")
    if unknown := set(log_scale) - set(panels):
        raise ValueError(f"log_scale names no panel: {', '.join(sorted(unknown))}.")


def legend_columns(labels: Collection[str], width: float) -> int:
    """Return how many columns of a legend fit into a width in inches."""
    for columns in range(len(labels), 1, -1):
        parts = np.array_split(np.array([len(label) for label in labels]), columns)
        if sum(0.5 + 0.052 * part.max() for part in parts) <= width:
            return columns
    return 1


def wrapped(text: str, width: float) -> str:
    """Return text with lines of at most `width` inches, in the size of titles."""
    lines = text.split("\n")
    return "\n".join(textwrap.fill(line, max(1, int(width / 0.062))) for line in lines)


def log_scale(axes: Any, direction: str = "y") -> None:
    """Make an axis of drawn lines logarithmic, with legible ticks."""
    from matplotlib import ticker

    axes.set(**{f"{direction}scale": "log"})
    axis = getattr(axes, f"{direction}axis")
    low, high = axis.get_view_interval()
    if high < 10 * low:  # powers of ten would leave it without numbers, or with many
        axis.set_major_locator(ticker.MaxNLocator(4))
        axis.set_major_formatter(ticker.ScalarFormatter(useOffset=False))
        axis.set_minor_locator(ticker.NullLocator())


def without_ticks(axis: Any) -> None:
    """Remove grid and ticks, where coordinates mean nothing."""
    axis.grid(visible=False)
    axis.set(xticks=[], yticks=[])


def color_bar(figure: Any, drawn: Any, label: str, *, extend: str) -> None:
    """Draw the scale of colours at the right of all axes."""
    bar = figure.colorbar(
        drawn, ax=figure.axes, location="right", extend=extend, shrink=0.8, aspect=30
    )
    bar.set_label(wrapped(label, figure.get_figheight()))


def save_figure(figure: Figure, path: str | pathlib.Path) -> pathlib.Path:
    """Write a figure under a temporary name, then rename it.

    Equal figures give equal files: no date is stored.

    Args:
      figure: the figure.
      path: a `.png` or `.pdf` file; without ending both are written, pixels to look at
        and a drawing to print. Missing folders are made.

    Returns:
      The path.

    Raises:
      ValueError: for another ending.
      OSError: if a file cannot be written; names it.
    """
    path = pathlib.Path(path)
    if path.suffix not in (*_METADATA, ""):
        raise ValueError(f"A figure is saved as .png or .pdf, not as {path.name!r}.")
    for ending in [path.suffix] if path.suffix else _METADATA:
        with files.replacing(path.with_suffix(ending)) as file:
            figure.savefig(file, format=ending[1:], metadata=_METADATA[ending])
    return path


_METADATA: Any = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}
"""Metadata to drop per format, so that equal figures give equal files."""
