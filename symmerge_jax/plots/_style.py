"""One look for all figures; figures belong to nobody but the caller.

The colours are those of Okabe and Ito (2008), which people with any common form of
colour blindness can tell apart. Figures are plain ``matplotlib.figure.Figure``
objects: no ``pyplot``, no global state, no display needed.
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
MARKERS = "os^Dv<>Pp*"

_SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def new_figure(
    width: float,
    height: float,
    num_rows: int = 1,
    num_columns: int = 1,
    *,
    padding: float = 0.04,
) -> tuple["Figure", Any]:
    """Make a figure with a grid of axes; call it in a ``styled`` function.

    Args:
      width: width in inches.
      height: height in inches.
      num_rows: rows of axes.
      num_columns: columns of axes.
      padding: space around each of the axes in inches.

    Returns:
      The figure and its axes, ``[num_rows, num_columns]``.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(
        w_pad=padding, h_pad=padding, rect=(0.01, 0.01, 0.98, 0.98)
    )
    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    return figure, axes


def styled(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """Return `draw` in the common style, which leaves the user's own style alone."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        import matplotlib

        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return draw_in_style


def save_figure(figure: "Figure", path: str | pathlib.Path) -> pathlib.Path:
    """Write a figure to ``.png`` or ``.pdf`` under a temporary name, then rename it.

    Equal figures give equal files: no date is stored.

    Args:
      figure: the figure.
      path: the file; its folder is made when missing.

    Returns:
      The path.

    Raises:
      ValueError: for another ending.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".png", ".pdf"):
        raise ValueError(f"a figure is saved as .png or .pdf, not as {path.name!r}")
    metadata = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    figure.savefig(temporary, metadata=metadata)
    os.replace(temporary, path)
    return path
