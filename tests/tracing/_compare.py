"""What a trace found, in the words of a hand-written list, and how the two differ."""

import re
from collections import Counter

from tests.tracing.architectures.registry import Free


def name_of(use):
    """Path, axis and position of a use as the lists write them, without position."""
    path = use.path if isinstance(use.path, str) else "/".join(map(str, use.path))
    return f"{path}[{use.axis}]"


def full_names(traced):
    """A function that names uses as the lists do, with positions where needed."""
    atoms = Counter(
        name_of(use) for space in traced.spaces.values() for use in space.uses
    )

    def full(use):
        name = name_of(use)
        return f"{name}.{use.position}" if atoms[name] > 1 else name

    return full


def found(traced):
    """Every space of a trace as an entry of a list; pinned ones are not permuted."""
    full = full_names(traced)
    return tuple(
        Free(
            space.size,
            frozenset(map(full, space.uses)),
            len(space.scales),
            len(space.signs),
            tuple(sorted(traced.spaces[o].size for o in space.over)),
            space.pinned is None,
        )
        for space in traced.spaces.values()
    )


def _pattern(text):
    """A regular expression: brackets around digits are an axis, others a class."""
    parts = re.split(r"(\*|\?|\[[a-z]+\])", text)
    wild = {"*": ".*", "?": "."}
    return "".join(
        wild.get(x, x) if i % 2 else re.escape(x) for i, x in enumerate(parts)
    )


def expand(entry, names):
    """The entry with its wildcards replaced by the uses they stand for."""
    uses = set()
    for use in entry.uses:
        hits = {name for name in names if re.fullmatch(_pattern(use), name)}
        uses |= hits or {use}
    return entry._replace(uses=frozenset(uses))


def differences(traced, expected):
    """Lines that say what was missed, and what was found beyond the list.

    Spaces whose order is pinned count only where the list names them: scales that act
    there are among those of the free spaces, or are for the certificate to judge.
    """
    spaces = found(traced)
    names = {use for space in spaces for use in space.uses}
    expected = {expand(entry, names) for entry in expected}
    free = {space for space in spaces if space.permuted}
    lines = [f"missed {show(entry)}" for entry in expected - set(spaces)]
    return lines + [f"beyond {show(entry)}" for entry in free - expected]


def show(entry):
    """One entry as a line."""
    over = f" over {entry.over}" if entry.over else ""
    order = "" if entry.permuted else " in order"
    return (
        f"{entry.size}{order}{over}, {entry.scales} scales, {entry.signs} signs:"
        f" {' '.join(sorted(entry.uses))}"
    )


def accepts(traced, forbidden):
    """Whether a trace accepts what a trap forbids: a kind and a use."""
    kind, name = forbidden.split()
    full = full_names(traced)
    for space in traced.spaces.values():
        uses = [use for use in space.uses if full(use) == name]
        groups = {"scale": space.scales, "sign": space.signs}.get(kind, ())
        if uses and (
            (kind == "permute" and space.pinned is None)
            or (kind == "over" and space.over and space.pinned is None)
            or any(group.get(use) for use in uses for group in groups)
        ):
            return True
    return False
