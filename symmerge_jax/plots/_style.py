"""One look for all figures; figures belong to nobody but the caller.

The colours are those of Okabe and Ito (2008), which people with any common form of
colour blindness can tell apart. Figures are drawn at the size they are printed at, one
column or the text of a page wide, so that sizes of text are those on paper. They are
plain ``matplotlib.figure.Figure`` objects: no ``pyplot``, no global state, no display.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec

from symmerge_jax import files

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
DASHES: Any = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
COLUMN_WIDTH = 3.3
"""Inches, of one column of a page with two."""
TEXT_WIDTH = 6.75
"""Inches, of both columns."""

_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _BROWN, _GREY, _VIOLET = (
    COLORS
)
METHOD_STYLES = {
    "naive": (_GREY, 0),
    "balanced scales": (_GREY, 1),
    "mean of the members": (_BLACK, 1),
    "matching P (published)": (_SKY, 0),
    "weight matching (published)": (_SKY, 0),
    "matching PD (published)": (_SKY, 1),
    "matching P + scale": (_SKY, 1),
    "matching P + sign": (_SKY, 1),
    "matching D (published)": (_SKY, 2),
    "matching PD, best start": (_BLUE, 0),
    "matching P + scale, best start": (_BLUE, 0),
    "matching P + sign, best start": (_BLUE, 0),
    "weight matching (scales, best start)": (_BLUE, 0),
    "each to the mean (MergeMany)": (_BLUE, 0),
    "matching P, best start": (_BLUE, 2),
    "common reference (Universe)": (_BLUE, 1),
    "closed form": (_GREEN, 0),
    "template": (_ORANGE, 0),
    "template of the autoencoder": (_ORANGE, 0),
    "decoded weights": (_VERMILION, 0),
    "decoded latents": (_VERMILION, 1),
    "activation matching": (_PURPLE, 0),
    "Sinkhorn re-basin": (_VIOLET, 0),
    "straight-through": (_BROWN, 0),
    "Frank-Wolfe": (_BLACK, 0),
    "Deep-Align": (_VERMILION, 0),
    "Deep-Align + sweeps": (_VERMILION, 1),
    "Deep-Align + matching P, best start": (_VERMILION, 2),
    "Deep-Align + matching P + scale, best start": (_VERMILION, 2),
    "Deep-Align + matching P + sign, best start": (_VERMILION, 2),
    "ours": (_GREEN, 0),
    "ours + sweeps": (_GREEN, 1),
    "ours + matching P, best start": (_GREEN, 2),
    "ours + matching P + scale, best start": (_GREEN, 2),
    "ours + matching P + sign, best start": (_GREEN, 2),
    "matching P (published) + Sinkhorn": (_VIOLET, 1),
    "Deep-Align + Sinkhorn": (_ORANGE, 1),
    "ours + Sinkhorn": (_BLACK, 1),
}
"""Colour and dash pattern of each method by its label, the same in all figures: the
colour tells the idea, the dashes its variant."""

ENCODER_COLORS = {
    "ScaleGMN": _VERMILION,
    "ScaleGMN without canonicaliser": _BROWN,
    "GMN, permutations only": _BLACK,
    "Neural Graphs": _PURPLE,
    "Neural Graphs with random twins": _ORANGE,
    "Relational transformer": _VIOLET,
}
"""Colour of each encoder by its label, also of what it decodes: "decoded weights
(ScaleGMN)" has the dashes of "decoded weights"."""

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


def method_styles(names: Iterable[str]) -> dict[str, tuple[str, int, str]]:
    """Return how methods are drawn: the known ones the same in every figure.

    Args:
      names: labels; those that neither `METHOD_STYLES` nor `ENCODER_COLORS` knows get,
        in this order, the colours that are left.

    Returns:
      By label the colour, the number of one of `DASHES`, and the marker.
    """
    names = list(names)
    known = {name: style for name in names if (style := _known_style(name)) is not None}
    taken = {color for color, _ in known.values()}
    others = [color for color in COLORS if color not in taken] or list(COLORS)
    styles, place = {}, 0
    for index, name in enumerate(names):
        if name in known:
            color, dash = known[name]
        else:
            color, dash = others[place % len(others)], place % len(DASHES)
            place += 1
        styles[name] = (color, dash, MARKERS[index % len(MARKERS)])
    return styles


def _known_style(name: str) -> tuple[str, int] | None:
    """Return colour and dashes of a method, an encoder, or a method with an encoder."""
    if name in ENCODER_COLORS:
        return ENCODER_COLORS[name], 0
    method, _, encoder = name.removesuffix(")").partition(" (")
    if method in METHOD_STYLES and encoder in ENCODER_COLORS:
        return ENCODER_COLORS[encoder], METHOD_STYLES[method][1]
    return METHOD_STYLES.get(name)


def legend_columns(labels: Iterable[str], width: float) -> int:
    """Return how many entries of a legend fit side by side into a width in inches."""
    longest = max(len(label) for label in labels)
    return max(1, int(width / (0.5 + 0.052 * longest)))


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
    figure = Figure(figsize=(width, height), dpi=200, layout=layout)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    return figure, axes


def styled(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """Return `draw` in the common style, which leaves the user's own style alone."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        try:
            import matplotlib
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Figures need matplotlib: pip install 'symmerge_jax[plots]'."
            ) from error
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return draw_in_style


def save_figure(figure: "Figure", path: str | pathlib.Path) -> pathlib.Path:
    """Write a figure under a temporary name, then rename it.

    Equal figures give equal files: no date is stored.

    Args:
      figure: the figure.
      path: the file, ``.png`` or ``.pdf``, or one without ending, for both: pixels to
        look at, and a drawing to print. Its folder is made when missing.

    Returns:
      The path.

    Raises:
      ValueError: for another ending.
      OSError: a file cannot be written; names it.
    """
    path = pathlib.Path(path)
    if path.suffix not in (*_METADATA, ""):
        raise ValueError(f"a figure is saved as .png or .pdf, not as {path.name!r}")
    for ending in [path.suffix] if path.suffix else _METADATA:
        with files.replacing(path.with_suffix(ending)) as file:
            figure.savefig(file, format=ending[1:], metadata=_METADATA[ending])
    return path


_METADATA: Any = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}
"""What would differ from one file to the next, left away, by ending."""
