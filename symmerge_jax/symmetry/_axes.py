"""What a spec is made of: groups, spaces of neurons, and axes that run over them."""

import dataclasses
import enum
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symmerge_jax.symmetry import _tree
from symmerge_jax.typing import Path


class Group(enum.Enum):
    """The symmetry group of one space of neurons.

    `SIGN` and `SCALE` contain the permutations. The activation implies the group: odd
    functions (sine, tanh) give `SIGN`, positively homogeneous ones (ReLU) give `SCALE`,
    any other element-wise function gives `PERMUTATION`; inputs and outputs of the
    network are `TRIVIAL`.
    """

    TRIVIAL = "trivial"
    PERMUTATION = "permutation"
    SIGN = "sign"
    SCALE = "scale"


if TYPE_CHECKING:
    _Group = Group
else:
    _Group = Group | str  # a space converts the name of a group


@dataclasses.dataclass(frozen=True)
class Axis:
    """The neurons that one axis of an array runs over.

    Attributes:
      space: name of the space.
      power: `+1` where the space is written (output axis of a kernel, bias), `-1` where
        it is read (input axis of a kernel), `0` if permuted but never scaled.
      repeat: number of entries per neuron, for example `height * width` on the input
        axis of a dense layer behind a flattened convolution. Neurons run fastest, as in
        a flattened `[height, width, channel]` array: entry `r * n + i` is neuron `i`.
    """

    space: str
    power: int = 1
    repeat: int = 1

    def __post_init__(self):
        _check_name(self.space, "Axis")
        for field in ("power", "repeat"):
            value = getattr(self, field)
            number = _as_integer(value)
            if number is None:
                raise TypeError(
                    f"Axis over '{self.space}': {field} must be an integer, got"
                    f" {value!r}."
                )
            object.__setattr__(self, field, number)
        if self.power not in (-1, 0, 1):
            raise ValueError(
                f"Axis over '{self.space}': power must be -1 (read), 0 or +1 (written),"
                f" got {self.power}."
            )
        if self.repeat < 1:
            raise ValueError(
                f"Axis over '{self.space}': repeat must be >= 1, got {self.repeat}."
            )


@dataclasses.dataclass(frozen=True)
class Space:
    """A set of neurons that one group element acts on.

    Attributes:
      name: the name that `Axis.space` refers to.
      group: the group of the space, or its name: `Group.SIGN` or "sign".
      frequency: the factor `w0` of an activation `sin(w0 * z)`, which makes the bias
        periodic with period `2 pi / w0`; None for every other activation.
    """

    name: str
    group: _Group
    frequency: float | None = None

    if TYPE_CHECKING:

        def __init__(
            self, name: str, group: Group | str, frequency: float | None = None
        ): ...

    def __post_init__(self):
        _check_name(self.name, "Space")
        if not isinstance(self.group, Group):
            object.__setattr__(self, "group", _as_group(self.name, self.group))
        if self.frequency is not None:
            if isinstance(self.frequency, str | bool) or not hasattr(
                self.frequency, "__float__"
            ):
                raise TypeError(
                    f"Space '{self.name}': frequency must be a number or None, got"
                    f" {self.frequency!r}."
                )
            if self.group is not Group.SIGN:
                raise ValueError(
                    f"Space '{self.name}': a frequency belongs to a sine, whose group"
                    f" is Group.SIGN, got {self.group}."
                )
            if not 0 < self.frequency < float("inf"):
                raise ValueError(
                    f"Space '{self.name}': frequency must be > 0, got {self.frequency}."
                )


def is_axes(node: Any) -> bool:
    """Return whether a node of a tree of axes names those of one array."""
    if not isinstance(node, tuple | list) or hasattr(node, "_fields"):
        return False
    if isinstance(node, list) and not node:
        return False
    return all(
        x is None or isinstance(x, Axis | Space | str | int | float) for x in node
    )


def find_statistics(
    paths: Sequence[Path], names: Sequence[str] | None
) -> tuple[Path, ...]:
    """Return the paths that are called so, or lie in a tree that is called so."""
    if names is None:
        return tuple(
            path
            for path in paths
            if "batch_stats" in path
            or path[-1:] in [("running_mean",), ("running_var",)]
        )
    if isinstance(names, str):
        raise TypeError(
            f"SymmetrySpec: statistics must be a list of names, got {names!r}."
        )
    found = []
    for name in names:
        prefix = tuple(name.split("/"))
        inside = [path for path in paths if path[: len(prefix)] == prefix]
        if not inside:
            raise ValueError(
                f"SymmetrySpec: no parameter is called '{name}', which statistics"
                f" names; they are {[_tree.name(path) for path in paths]}."
            )
        found += inside
    return tuple(dict.fromkeys(found))


def _as_integer(value: Any) -> int | None:
    """Return a value as an integer of Python, None if it is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _as_group(space: str, value: Any) -> Group:
    """Return the group of this name."""
    known = [group.value for group in Group]
    if isinstance(value, str):
        name = value.lower().removeprefix("group.")
        if name in known:
            return Group(name)
    raise ValueError(
        f"Space '{space}': unknown group {value!r}; write one of Group.TRIVIAL,"
        f" PERMUTATION, SIGN, SCALE, or its name, one of {known}."
    )


def _check_name(value: Any, what: str) -> None:
    if not isinstance(value, str):
        hint = f": pass its name, {value.name!r}" if isinstance(value, Space) else ""
        raise TypeError(f"{what}: a space is named by a string, got {value!r}{hint}.")
