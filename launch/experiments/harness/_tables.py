"""Tables of results: one value, rendered for terminals, Markdown and HTML."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tabulate


class Number(NamedTuple):
    """A number in a table.

    Attributes:
      value: the number; None or NaN where there is none, shown as "-".
      form: format specification, as ".3f" or ".1%"; percentages are shown without "%",
        which belongs into the heading.
      error: standard error of the value, in its unit; None for none.
    """

    value: float | None
    form: str = ".4f"
    error: float | None = None

    def __str__(self) -> str:
        if self.error is None or math.isnan(self.error):
            return _shown(self.value, self.form)
        return f"{_shown(self.value, self.form)} ± {_shown(self.error, self.form)}"


Cell = str | Number


class Table(NamedTuple):
    """A table.

    Attributes:
      caption: what it shows.
      columns: headings; the first one is that of the row labels.
      rows: cells, as many as columns.
      command: what makes its numbers; a report says it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    command: str = ""


def measures(caption: str, results: Mapping[str, Any]) -> Table:
    """Return a table with one row for each number of results without structure."""
    rows = [
        (name, Number(value, ".5g") if isinstance(value, float) else str(value))
        for name, value in results.items()
    ]
    return Table(caption, ("", ""), rows)


def to_text(tables: Sequence[Table]) -> str:
    """Return tables as text for a terminal, each below its caption."""
    parts = []
    for table in tables:
        headers = table.columns if any(table.columns) else ()
        body = (
            _render(table, headers, "simple" if headers else "plain")
            if table.rows
            else ""
        )
        parts.append(f"{table.caption}\n{body}" if table.caption else body)
    return "\n\n".join(parts)


def to_markdown(table: Table) -> str:
    """Return a table as Markdown, without its caption."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in table.rows]
    return _render(table._replace(rows=rows), table.columns, "pipe")


def to_html(table: Table) -> str:
    """Return a table as HTML, without its caption; text is escaped."""
    rows = [[html.escape(str(cell)) for cell in row] for row in table.rows]
    columns = [html.escape(column) for column in table.columns]
    return _render(table._replace(rows=rows), columns, "unsafehtml")


def _render(table: Table, headers: Sequence[str], form: str) -> str:
    return tabulate.tabulate(
        [[str(cell) for cell in row] for row in table.rows],
        headers,
        form,
        disable_numparse=True,
        colalign=["right" if is_right else "left" for is_right in _numeric(table)],
    )


def _numeric(table: Table) -> list[bool]:
    """Whether each column holds numbers, which are aligned at the right."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [any(isinstance(cell, Number) for cell in column) for column in columns]


def _shown(value: float | None, form: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    text = format(value, form).removesuffix("%")
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text
