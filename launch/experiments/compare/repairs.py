"""What is done to merged networks after the mean: the columns of tables."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from symmerge_jax import merging

CLOSED_FORMS = ("statistics", "rescale")
"""Repairs that need no data."""


class Column(NamedTuple):
    """What is done after the mean.

    Attributes:
      name: the names of `methods`, joined by "+"; "none" for none.
      methods: as `merging.repair` takes them.
      is_free: whether it looks at no data.
    """

    name: str
    methods: tuple[str, ...]
    is_free: bool

    @property
    def key(self) -> str:
        """Name in files and results: closed forms have a name of their own."""
        return f"closed_{self.name}" if self.is_free and self.methods else self.name

    @property
    def title(self) -> str:
        """Heading in tables and figures."""
        return title(self.key)


def column(name: str, is_free: bool) -> Column:
    """Return the column of a name that has been checked."""
    methods = () if name == "none" else tuple(name.split("+"))
    return Column(name, methods, is_free)


def columns(closed_forms: Sequence[str], repairs: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of two lists of names, what is not repaired first."""
    found = [
        column(name, is_free)
        for is_free, names in ((True, closed_forms), (False, repairs))
        for name in names
    ]
    return tuple(sorted(found, key=lambda column: column.name != "none"))


def title(key: str) -> str:
    """Return the heading of a column, by its key."""
    parts = key.removeprefix("closed_").split("+")
    text = " + ".join(part.replace("_", " ") for part in parts)
    return f"{text}, no data" if key.startswith("closed_") else text


def check(
    key: str, names: Sequence[str], known: Collection[str] = tuple(merging.REPAIRS)
) -> None:
    """Raise ValueError unless names are "none" or known ones joined by "+"."""
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"config.{key} must name some repairs, each once, got {names}."
        )
    for name in names:
        parts = () if name == "none" else name.split("+")
        unknown = [part for part in parts if part not in known]
        if unknown or len(set(parts)) < len(parts):
            raise ValueError(
                f"config.{key} has {name!r}, known are none, {', '.join(known)}, and"
                " several of them joined by '+'."
            )
