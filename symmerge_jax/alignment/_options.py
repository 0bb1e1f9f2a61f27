"""What the options of solvers have in common: their types, refused in one line."""

import operator
from collections.abc import Sequence
from typing import Any

SCALES = ("balanced", "matched")
"""Where positive scales come from: from balance alone, or from the partner."""


def check_integer(solver: str, name: str, value: Any, least: int) -> None:
    """Refuse what is no integer of at least this size."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{solver}: {name} must be an integer, got {value!r}.")
    if number < least:
        raise ValueError(f"{solver}: {name} must be >= {least}, got {number}.")


def check_number(solver: str, name: str, value: Any) -> None:
    """Refuse what is no number."""
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{solver}: {name} must be a number, got {value!r}.")


def check_name(solver: str, name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is no known name."""
    if value not in known:
        raise ValueError(
            f"{solver}: {name} must be one of {tuple(known)}, got {value!r}."
        )


def check_names(
    solver: str, name: str, value: Any, known: Sequence[str], *, hint: str = ""
) -> None:
    """Refuse what is no tuple of known names."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(
            f"{solver}: {name} must be a tuple of names of {tuple(known)}, got"
            f" {value!r}."
        )
    for item in value:
        if item not in known:
            raise ValueError(
                f"{solver}: {name} has the unknown name {item!r}; known are"
                f" {tuple(known)}{hint}."
            )


def check_aligner(solver: str, name: str, value: Any) -> None:
    """Refuse what is no solver for two networks."""
    if isinstance(value, type) or not callable(value):
        hint = f": write {value.__name__}()" if isinstance(value, type) else ""
        raise TypeError(
            f"{solver}: {name} must be a solver for two networks, got {value!r}{hint}."
        )
    if hasattr(value, "aligner") and hasattr(value, "max_sweeps"):
        raise TypeError(
            f"{solver}: {name} must be a solver for two networks, but"
            f" {type(value).__name__} brings many together."
        )
