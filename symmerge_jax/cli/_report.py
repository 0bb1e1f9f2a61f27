"""What a command found, as text, Markdown, HTML or JSON."""

import dataclasses
import html
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symmerge_jax import files


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of values below their headings."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
      title: what was done.
      values: numbers and texts by name.
      tables: more of them.
      code: exit code of the command.
      text: words that come last.
    """

    title: str
    values: Mapping[str, Any]
    tables: Sequence[Table] = ()
    code: int = 0
    text: str = ""

    def __getitem__(self, name: str) -> Any:
        """Return a value by name."""
        return self.values[name]


def to_text(report: Report) -> str:
    """Return the values of a report for a terminal, one in a line, then its tables."""
    parts = [_aligned(list(report.values.items()))] if report.values else []
    for table in report.tables:
        parts.append(f"{table.caption}\n{_aligned([table.columns, *table.rows])}")
    return "\n\n".join([*parts, *filter(None, [report.text])]) + "\n"


def check_path(path: str) -> None:
    """Refuse a report file of an unknown kind."""
    if pathlib.Path(path).suffix.lower() not in _RENDERERS:
        raise ValueError(
            f"--report={path}: reports are written as {', '.join(_RENDERERS)}."
        )


def write(path: str, report: Report) -> None:
    """Write a report, as its suffix says, completely or not at all."""
    text = _RENDERERS[pathlib.Path(path).suffix.lower()](report)
    with files.replacing(path) as file:
        file.write(text.encode())


def size(num_bytes: int | float) -> str:
    """Return a number of bytes for readers."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024 or unit == "GiB":
            break
        num_bytes /= 1024
    return f"{num_bytes:.4g} {unit}"


def _markdown(report: Report) -> str:
    parts = [f"# {report.title}"]
    for caption, columns, rows in _all_tables(report):
        lines = [columns, ["---"] * len(columns), *rows]
        cells = [[_cell(x).replace("|", "\\|") for x in line] for line in lines]
        parts += [f"## {caption}"] if caption else []
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    parts += [f"```text\n{report.text}\n```"] if report.text else []
    return "\n\n".join(parts) + "\n"


def _html(report: Report) -> str:
    parts = [f"<h1>{html.escape(report.title)}</h1>"]
    for caption, columns, rows in _all_tables(report):
        parts += [f"<h2>{html.escape(caption)}</h2>"] if caption else []
        lines = [
            "".join(f"<{tag}>{html.escape(_cell(x))}</{tag}>" for x in line)
            for tag, line in (("th", columns), *(("td", row) for row in rows))
        ]
        parts.append(f"<table><tr>{'</tr><tr>'.join(lines)}</tr></table>")
    parts += [f"<pre>{html.escape(report.text)}</pre>"] if report.text else []
    style = "table{border-collapse:collapse}td,th{padding:.2em 1em;text-align:left}"
    head = f"<meta charset=utf-8><title>{html.escape(report.title)}</title>"
    body = "\n".join(parts)
    return f"<!doctype html>{head}<style>{style}</style>\n{body}\n"


def _json(report: Report) -> str:
    content = {
        "title": report.title,
        **{name: _finite(value) for name, value in report.values.items()},
        **({"text": report.text} if report.text else {}),
        "tables": [
            {
                "caption": table.caption,
                "rows": [
                    dict(zip(table.columns, map(_finite, row), strict=True))
                    for row in table.rows
                ],
            }
            for table in report.tables
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Return a value that JSON knows: infinite numbers are texts."""
    is_odd = isinstance(value, float) and not math.isfinite(value)
    return str(value) if is_odd or not isinstance(value, _PLAIN) else value


_PLAIN = (str, int, float, bool, type(None))


def _all_tables(report: Report):
    if report.values:
        yield "", ("", ""), list(report.values.items())
    for table in report.tables:
        yield table.caption, table.columns, table.rows


def _aligned(rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_cell(x) for x in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(x.ljust(width) for x, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


_RENDERERS: dict[str, Callable[[Report], str]] = {
    ".md": _markdown,
    ".html": _html,
    ".json": _json,
}
