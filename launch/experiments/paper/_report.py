"""Reports: sections of text, tables and figures, written as Markdown and as HTML."""

import base64
import html
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from symmerge_jax import files


class Text(NamedTuple):
    """A paragraph; what stands between backticks is code."""

    text: str


class Missing(NamedTuple):
    """A remark that something is not there yet, which stands out."""

    text: str


class Table(NamedTuple):
    """A table.

    Attributes:
      caption: what it shows.
      columns: headings; the first one is that of the row labels.
      rows: cells, as many as columns.
      command: what makes its numbers.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    command: str = ""


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


Block = Text | Missing | Table | Figure


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """A title and sections."""

    title: str
    sections: Sequence[Section]


def write(report: Report, folder: pathlib.Path) -> pathlib.Path:
    """Write `report.md` with `figures/`, and `report.html`, which needs no other file.

    Args:
      report: what to write.
      folder: where.

    Returns:
      The file `report.md`.
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
    _replace(folder / "report.html", to_html(report))
    _replace(folder / "report.md", to_markdown(report))
    return folder / "report.md"


def to_markdown(report: Report) -> str:
    """Return the report as Markdown; figures are links into `figures/`."""
    lines = [f"# {report.title}"]
    for section in report.sections:
        lines += ["", f"## {section.title}"]
        for block in section.blocks:
            lines += ["", *_markdown(block)]
    return "\n".join(lines) + "\n"


def _markdown(block: Block) -> list[str]:
    match block:
        case Text(text):
            return [text]
        case Missing(text):
            return [f"> **Missing:** {text}"]
        case Figure(_, name, caption):
            return [f"![{caption}](figures/{name}.png)", "", f"*{caption}*"]
        case Table(caption, columns, rows, command):
            aligned = ["---:" if right else "---" for right in _numeric(block)]
            cells = [list(columns), aligned, *([_cell(c) for c in row] for row in rows)]
            lines = [f"| {' | '.join(row)} |" for row in cells]
            end = ["", f"`{command}`"] if command else []
            return [f"**{caption}**", "", *lines, *end]


def _numeric(table: Table) -> list[bool]:
    """Return which columns hold numbers, which are aligned at the right."""
    columns = list(zip(*table.rows, strict=True)) or [() for _ in table.columns]
    return [
        any(_NUMBER.match(cell) for cell in cells)
        and all(_NUMBER.match(cell) or cell in ("", "-") for cell in cells)
        for cells in columns
    ]


_NUMBER = re.compile(r"[-+><]? ?\d[\d,.]*(e[-+]\d+)?( ?(±.*|s|min|h|%))?$")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_html(report: Report) -> str:
    """Return the report as one HTML page, figures included, without scripts."""
    links = [
        f'<a href="#s{number}">{_inline(section.title)}</a>'
        for number, section in enumerate(report.sections)
    ]
    parts = [f"<h1>{_inline(report.title)}</h1>", f"<nav>{' · '.join(links)}</nav>"]
    for number, section in enumerate(report.sections):
        parts.append(f'<h2 id="s{number}">{_inline(section.title)}</h2>')
        parts += [_html(block) for block in section.blocks]
    return _PAGE.format(title=html.escape(report.title), body="\n".join(parts))


def _html(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Missing(text):
            return f'<p class="missing">Missing: {_inline(text)}</p>'
        case Figure(path, _, caption):
            image = base64.b64encode(path.read_bytes()).decode()
            return (
                f'<figure><img alt="{html.escape(caption)}"'
                f' src="data:image/png;base64,{image}">'
                f"<figcaption>{_inline(caption)}</figcaption></figure>"
            )
        case Table(caption, columns, rows, command):
            classes = [' class="n"' if right else "" for right in _numeric(block)]
            head = _html_row("th", classes, columns)
            body = "\n".join(_html_row("td", classes, row) for row in rows)
            return (
                f'<div class="table"><table><caption>{_inline(caption)}'
                f"{_html_command(command)}</caption>\n<thead>{head}</thead>\n"
                f"<tbody>\n{body}\n</tbody></table></div>"
            )


def _html_row(tag: str, classes: Sequence[str], cells: Sequence[str]) -> str:
    parts = zip(classes, cells, strict=True)
    return f"<tr>{''.join(f'<{tag}{c}>{_inline(x)}</{tag}>' for c, x in parts)}</tr>"


def _html_command(command: str) -> str:
    return f"<br><code>{html.escape(command)}</code>" if command else ""


def _inline(text: str) -> str:
    """Return text escaped, with code between backticks and bold between stars."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


def _replace(path: pathlib.Path, text: str) -> None:
    with files.replacing(path) as file:
        file.write(text.encode())


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1040px; margin: 2em auto; padding: 0 1em; }}
h1 {{ font-size: 1.7em; }}
h2 {{ font-size: 1.25em; margin-top: 2.2em; border-bottom: 1px solid #ddd; }}
nav {{ font-size: 0.9em; }}
a {{ color: #0072b2; }}
code {{ font-size: 0.85em; background: #f4f4f4; padding: 0 0.2em;
  overflow-wrap: anywhere; }}
.table {{ overflow-x: auto; margin: 1.2em 0; }}
table {{ border-collapse: collapse; font-size: 0.88em;
  font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: 0.4em; }}
caption code {{ font-weight: 400; color: #555; }}
th, td {{ padding: 0.25em 0.7em; border-bottom: 1px solid #e4e4e4;
  text-align: left; vertical-align: top; }}
.n {{ text-align: right; white-space: nowrap; }}
thead th {{ border-bottom: 2px solid #999; }}
figure {{ margin: 1.4em 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ font-size: 0.88em; color: #444; }}
.missing {{ border-left: 4px solid #d55e00; background: #fdf3ec;
  padding: 0.4em 0.8em; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
