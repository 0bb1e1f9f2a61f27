"""What a spec is made of: groups, spaces of neurons, and axes that run over them."""

import dataclasses
import enum
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Union

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
      power: the exponent with which the scale of a neuron multiplies its entries: `+1`
        where the space is written (output axis of a kernel, bias), `-1` where it is
        read (input axis of a kernel), `0` if permuted but never scaled; a fraction
        where the array enters by a root or a power. Its sign is the role of the array,
        also where the space has no scales.
      repeat: number of entries per neuron, for example `height * width` on the input
        axis of a dense layer behind a flattened convolution. Neurons run fastest, as in
        a flattened `[height, width, channel]` array: entry `r * n + i` is neuron `i`.
      also: further scales of the same neurons: pairs of a space that follows this one
        and its exponent.
    """

    space: str
    power: int | Fraction = 1
    repeat: int = 1
    also: tuple[tuple[str, int | Fraction], ...] = ()

    def __post_init__(self):
        _check_name(self.space, "Axis")
        where = f"Axis over '{self.space}'"
        object.__setattr__(self, "power", _as_fraction(where, "power", self.power))
        repeat = _as_integer(self.repeat)
        if repeat is None:
            raise TypeError(f"{where}: repeat must be an integer, got {self.repeat!r}.")
        object.__setattr__(self, "repeat", repeat)
        if self.repeat < 1:
            raise ValueError(f"{where}: repeat must be >= 1, got {self.repeat}.")
        if not isinstance(self.also, tuple):
            raise TypeError(
                f"{where}: also must be a tuple of pairs (space, power), got"
                f" {self.also!r}."
            )
        also = tuple((n, _as_fraction(where, "also", p)) for n, p in self.also)
        object.__setattr__(self, "also", also)

    @property
    def role(self) -> int:
        """`+1` where the space is written, `-1` where it is read, `0` where kept."""
        return (self.power > 0) - (self.power < 0)

    def exponent(self, space: str) -> int | Fraction:
        """Return the exponent of the scales of a space, or of one that follows it."""
        return self.power if space == self.space else dict(self.also).get(space, 0)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """One axis of an array as pieces side by side, each a product of spaces.

    Attributes:
      pieces: one tuple of factors per piece, in the order of the entries. A factor is
        an `Axis`, a number of entries that no space runs over, or `Blocks` again; the
        last one runs fastest, as in an array that was reshaped.

    Example:
      >>> Blocks(((Axis("heads"), Axis("head_dim")),))  # [heads * head_dim]
      Blocks(heads * head_dim)
      >>> Blocks(((Axis("encoder", -1),), (Axis("decoder", -1),)))  # concatenated
      Blocks(encoder + decoder)
    """

    pieces: tuple[tuple["Factor", ...], ...]

    def __post_init__(self):
        valid = isinstance(self.pieces, tuple) and len(self.pieces) > 0
        for piece in self.pieces if valid else ():
            valid = valid and isinstance(piece, tuple) and len(piece) > 0
            for factor in piece if valid else ():
                count = _as_integer(factor) or 0
                valid = valid and (isinstance(factor, Axis | Blocks) or count > 0)
        if not valid:
            raise TypeError(
                "Blocks: pieces must be a tuple of tuples of Axis, Blocks or positive"
                f" integers, one tuple per piece, got {self.pieces!r}."
            )

    def __repr__(self) -> str:
        return f"Blocks({self})"

    def __str__(self) -> str:
        def word(factor: Factor) -> str:
            if isinstance(factor, Axis):
                repeat = f"{factor.repeat} * " if factor.repeat > 1 else ""
                return repeat + factor.space
            return f"({factor})" if isinstance(factor, Blocks) else str(factor)

        return " + ".join(" * ".join(map(word, piece)) for piece in self.pieces)

    def axes(self) -> Iterator[Axis]:
        """Yield every axis inside, from the first entries to the last."""
        for piece in self.pieces:
            for factor in piece:
                if isinstance(factor, Axis):
                    yield factor
                elif isinstance(factor, Blocks):
                    yield from factor.axes()


Factor = Union[Axis, int, Blocks]  # noqa: UP007 (a forward reference to itself)


@dataclasses.dataclass(frozen=True)
class Space:
    """A set of neurons that one group element acts on.

    Attributes:
      name: the name that `Axis.space` refers to.
      group: the group of the space, or its name: `Group.SIGN` or "sign".
      frequency: the factor `w0` of an activation `sin(w0 * z)`, which makes the bias
        periodic with period `2 pi / w0`; None for every other activation.
      size: number of neurons, where no plain `Axis` tells it.
      over: spaces for each of whose neurons this one is permuted and scaled on its own:
        the dimensions of a head lie over the heads, the units of an expert over the
        experts, the neurons of scanned layers over the layers. Every array with this
        space has them all.
      permute: False where the order of the neurons is fixed and only their signs or
        scales are free.
      follows: the space whose neurons these are, where this one only adds another scale
        or sign to each: a normalisation inside a residual stream has such scales. Axes
        name it in `Axis.also`; it is permuted with the space that it follows.
    """

    name: str
    group: _Group
    frequency: float | None = None
    _: dataclasses.KW_ONLY
    size: int | None = None
    over: tuple[str, ...] = ()
    permute: bool = True
    follows: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            group: Group | str,
            frequency: float | None = None,
            *,
            size: int | None = None,
            over: tuple[str, ...] = (),
            permute: bool = True,
            follows: str | None = None,
        ): ...

    def __post_init__(self):
        _check_name(self.name, "Space")
        if not isinstance(self.group, Group):
            object.__setattr__(self, "group", _as_group(self.name, self.group))
        where = f"Space '{self.name}'"
        if self.frequency is not None:
            if isinstance(self.frequency, str | bool) or not hasattr(
                self.frequency, "__float__"
            ):
                raise TypeError(
                    f"{where}: frequency must be a number or None, got"
                    f" {self.frequency!r}."
                )
            if self.group is not Group.SIGN:
                raise ValueError(
                    f"{where}: a frequency belongs to a sine, whose group is"
                    f" Group.SIGN, got {self.group}."
                )
            if not 0 < self.frequency < float("inf"):
                raise ValueError(
                    f"{where}: frequency must be > 0, got {self.frequency}."
                )
        if self.size is not None and (_as_integer(self.size) or 0) < 1:
            raise ValueError(
                f"{where}: size must be an integer >= 1, got {self.size!r}."
            )
        if isinstance(self.over, str) or not isinstance(self.over, tuple):
            raise TypeError(
                f"{where}: over must be a tuple of names, got {self.over!r}."
            )
        scaled = self.group in (Group.SIGN, Group.SCALE)
        if not self.permute and self.group is Group.PERMUTATION:
            raise ValueError(
                f"{where}: permute=False leaves nothing of Group.PERMUTATION; write"
                " Group.TRIVIAL."
            )
        if self.follows is not None and not scaled:
            raise ValueError(
                f"{where}: what follows another space adds signs or scales, got"
                f" {self.group}."
            )

    @property
    def is_permuted(self) -> bool:
        """Whether the neurons may change places by themselves."""
        movable = self.group is not Group.TRIVIAL
        return movable and self.permute and self.follows is None


def length_of(layout: Factor, sizes: Mapping[str, int]) -> int:
    """Return the number of entries of an array axis, or of a factor of one."""
    if isinstance(layout, Axis):
        return layout.repeat * sizes[layout.space]
    if isinstance(layout, Blocks):
        return sum(
            math.prod(length_of(factor, sizes) for factor in piece)
            for piece in layout.pieces
        )
    return layout


def axes_in(axes: Sequence[Axis | Blocks | None]) -> Iterator[Axis]:
    """Return every axis over a space, those inside of blocks too."""
    for axis in axes:
        if isinstance(axis, Axis):
            yield axis
        elif axis is not None:
            yield from axis.axes()


def is_axes(node: Any) -> bool:
    """Return whether a node of a tree of axes names those of one array."""
    if not isinstance(node, tuple | list) or hasattr(node, "_fields"):
        return False
    if isinstance(node, list) and not node:
        return False
    return all(
        x is None or isinstance(x, Axis | Blocks | Space | str | int | float)
        for x in node
    )


def find_statistics(
    paths: Sequence[Path], names: Sequence[str] | None
) -> tuple[Path, ...]:
    """Return the paths that are called so, or lie in a tree that is called so.

    Args:
      paths: of all parameters.
      names: of parameters or trees; None for the names of Flax and PyTorch,
        "batch_stats", "running_mean" and "running_var", these also as the end of a
        name with dots.

    Raises:
      TypeError, ValueError: no list of names, or one that no parameter has.
    """
    if names is None:
        return tuple(
            path
            for path in paths
            if "batch_stats" in path
            or "".join(path[-1:]).rpartition(".")[2] in ("running_mean", "running_var")
        )
    if isinstance(names, str):
        raise TypeError(f"statistics must be a list of names, got {names!r}.")
    found = []
    for name in names:
        prefix = tuple(name.split("/"))
        inside = [path for path in paths if path[: len(prefix)] == prefix]
        if not inside:
            raise ValueError(
                f"No parameter is called '{name}', which statistics"
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


def _as_fraction(where: str, field: str, value: Any) -> int | Fraction:
    """Return an exponent: an integer where it is one."""
    number = _as_integer(value)
    if number is not None:
        return number
    if not isinstance(value, Fraction):
        raise TypeError(
            f"{where}: {field} must be an integer or a Fraction, got {value!r}."
        )
    return value.numerator if value.denominator == 1 else value


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
