"""Tables of results: one value, rendered for terminals, Markdown and HTML."""

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tabulate


class Number(NamedTuple):
    """A number in a table.

    Attributes:
      value: the number; None or NaN where there is none, shown as "-".
      form: format specification, as ".3f" or ".1%"; percentages are shown without "%",
        which belongs in the heading.
      error: standard error of the value, in its unit; None for none.
    """

    value: float | int | None
    form: str = ".4f"
    error: float | None = None

    def __str__(self) -> str:
        value, error = (_shown(x, self.form) for x in (self.value, self.error))
        return value if "-" in (value, error) else f"{value} ± {error}"


Cell = str | Number


class Table(NamedTuple):
    """A table.

    Attributes:
      caption: what it shows.
      columns: headings; the first one is that of the row labels.
      rows: cells, as many as columns.
      command: what makes its numbers; a report says it below the table.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    command: str = ""


def measures(caption: str, results: Mapping[str, Any]) -> Table:
    """Return a table with one row for each number or text of flat results.

    Example:
      >>> print(to_text([measures("Held-out", {"mse": 0.25, "num_steps": 100})]))
      Held-out
      mse        0.25
      num_steps  100
    """
    rows = [(name, to_cell(value)) for name, value in results.items()]
    return Table(caption, ("", ""), rows)


def to_cell(value: Any, form: str = ".5g") -> Cell:
    """Return a value as a cell; floats are shown in the given form."""
    if isinstance(value, float):
        return Number(value, form)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return Number(value, "d") if is_count else str(value)


def seconds(value: float | None) -> Number:
    """Return a time as a number of two digits, or of whole seconds from ten on."""
    return Number(value, ",.0f" if value is not None and value >= 10 else ".2g")


def to_text(tables: Sequence[Table]) -> str:
    """Return tables as text for a terminal, each below its caption.

    Example:
      >>> rows = [("naive", Number(0.5, ".1%", 0.01)), ("best", Number(0.975, ".1%"))]
      >>> print(to_text([Table("Means of two", ("method", "accuracy %"), rows)]))
      Means of two
      method      accuracy %
      --------  ------------
      naive       50.0 ± 1.0
      best              97.5
    """
    return "\n\n".join(
        "\n".join(part for part in (table.caption, _text(table)) if part)
        for table in tables
    )


def to_markdown(table: Table) -> str:
    """Return a table as Markdown: the caption, the cells, and the command."""

    def escaped(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    caption = table.caption and f"**{table.caption}**"
    command = table.command and f"`{table.command}`"
    body = _render(table, table.columns, "pipe", escaped)
    return "\n\n".join(part for part in (caption, body, command) if part)


def to_html(table: Table) -> str:
    """Return a table as HTML: the caption, the cells, and the command.

    Text is escaped; what stands between backticks becomes code (`inline`).
    """
    caption = table.caption and f"<figcaption>{inline(table.caption)}</figcaption>"
    command = table.command and f"<code>{html.escape(table.command)}</code>"
    body = _render(table, table.columns, "unsafehtml", inline)
    parts = "\n".join(part for part in (caption, body, command) if part)
    return f'<figure class="table">\n{parts}\n</figure>'


def inline(text: str) -> str:
    """Return text as HTML, escaped, with `code` and **bold**."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


def _text(table: Table) -> str:
    if not table.rows:
        return ""
    if not any(table.columns):
        return _render(table, (), "plain", str)
    return _render(table, table.columns, "simple", str)


def _render(
    table: Table, columns: Sequence[str], form: str, escape: Callable[[str], str]
) -> str:
    return tabulate.tabulate(
        [[escape(str(cell)) for cell in row] for row in table.rows],
        [escape(column) for column in columns],
        form,
        disable_numparse=True,
        colalign=["right" if right else "left" for right in _numeric(table)],
    )


def _numeric(table: Table) -> list[bool]:
    """Return which columns hold numbers below a heading: they end at the right."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [
        any(isinstance(cell, Number) for cell in cells)
        and all(isinstance(cell, Number) or cell in ("", "-") for cell in cells)
        and heading != ""
        for heading, cells in zip(table.columns, columns, strict=True)
    ]


def _shown(value: float | int | None, form: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    text = format(value, form).removesuffix("%")
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text
