"""Reports: sections of text, tables and figures, written as Markdown and as HTML."""

import base64
import pathlib
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import markupsafe
from PIL import Image

from experiments import harness
from symmerge_jax import files

_PIXELS_PER_INCH = 100  # of figures on the page: text has one size in all of them


class Text(NamedTuple):
    """A paragraph; what stands between backticks is code."""

    text: str


class Missing(NamedTuple):
    """A remark that something is not there yet, which stands out."""

    text: str


class Figure(NamedTuple):
    """A figure.

    Attributes:
      path: the PNG file.
      name: its name among the files of the report.
      caption: what it shows.
    """

    path: pathlib.Path
    name: str
    caption: str


Block = Text | Missing | harness.Table | Figure


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """A title and sections."""

    title: str
    sections: Sequence[Section]


def write(report: Report, folder: pathlib.Path) -> pathlib.Path:
    """Write `report.md`, which is returned, with `figures/`, and `report.html`.

    The page needs no other file.
    """
    figures = folder / "figures"
    shutil.rmtree(figures, ignore_errors=True)
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                figures.mkdir(exist_ok=True)
                target = figures / f"{block.name}.png"
                with files.naming(target):
                    shutil.copyfile(block.path, target)
    for name, text in (
        ("report.html", to_html(report)),
        ("report.md", to_markdown(report)),
    ):
        with files.replacing(folder / name) as file:
            file.write(text.encode())
    return folder / "report.md"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown; figures are links into `figures/`."""
    parts = [f"# {report.title}"]
    for section in report.sections:
        parts += [f"## {section.title}", *map(_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return text
        case Missing(text):
            return f"> **Missing:** {text}"
        case Figure(_, name, caption):
            return f"![{caption}](figures/{name}.png)\n\n*{caption}*"
        case harness.Table():
            return harness.to_markdown(block)


def to_html(report: Report) -> str:
    """Return the report as one HTML page, figures included, without scripts."""
    folder = pathlib.Path(__file__).parent
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["inline"] = lambda text: markupsafe.Markup(harness.inline(text))
    page.filters["table"] = lambda table: markupsafe.Markup(harness.to_html(table))
    page.filters["image"] = _image
    page.tests |= {
        kind.__name__.lower(): lambda block, kind=kind: isinstance(block, kind)
        for kind in (Text, Missing, Figure, harness.Table)
    }
    return page.get_template("report.html.jinja").render(report=report)


def _image(path: pathlib.Path) -> dict[str, str | int]:
    """Return the content of a figure as a URI, and its width on the page."""
    content = base64.b64encode(path.read_bytes()).decode()
    with Image.open(path) as image:
        dots_per_inch = image.info.get("dpi", (_PIXELS_PER_INCH,))[0]
        width = round(image.width / dots_per_inch * _PIXELS_PER_INCH)
    return {"uri": f"data:image/png;base64,{content}", "width": width}
