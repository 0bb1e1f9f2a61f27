"""What an inference finds: spaces, their uses and scales, and why axes are pinned."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from symmerge_jax.tracing._values import Reason
from symmerge_jax.typing import Path

Tree = int | tuple[str, list["Tree"]]
"""One array axis: the number of a space, or ("product" | "concatenation", trees)."""


class Use(NamedTuple):
    """Where a parameter has a space.

    Attributes:
      path: of the parameter.
      axis: of the array.
      position: among the atoms of that axis, in row-major and left-to-right order.
    """

    path: Path
    axis: int
    position: int


class TracedSpace(NamedTuple):
    """Indices that the program does not tell apart, or tells apart for a reason.

    Attributes:
      size: number of indices.
      pinned: why they may not be permuted; None if they may.
      uses: where parameters have the space.
      scales: basis of the exponents with which positive scales of the indices leave the
        function as it is: one dict for each group, of the uses that scale.
      signs: the same for sign flips, with exponents 1.
      over: numbers of the spaces over which this one may be permuted independently.
      roles: per use +1 where the parameter writes the space, -1 where it reads it, 0
        for statistics.
      linear: "general" if only linear operations touch the space, "orthogonal" if sums
        of squares do as well, else None.
    """

    size: int
    pinned: Reason | None
    uses: tuple[Use, ...]
    scales: tuple[dict[Use, Fraction], ...]
    signs: tuple[dict[Use, int], ...]
    over: tuple[int, ...]
    roles: dict[Use, int]
    linear: str | None = None


class Place(NamedTuple):
    """Where a value of the program shows the neurons of a space.

    Attributes:
      where: numbers of the equation and of those whose programs it is in, each behind
        the number of its branch.
      operand: number of the operand; -1 for the first result.
      axes: per axis of the value, what it runs over; before them the steps of the scans
        that the equation is in.
    """

    where: tuple[int, ...]
    operand: int
    axes: tuple["Part", ...]


class Part(NamedTuple):
    """An axis of a value, or a part of one.

    Attributes:
      size: number of entries; 0 for any.
      space: number of the space, if it is one of the parameters.
      is_batch: whether it is the first axis of the first input.
      kind: "product" or "concatenation" of `parts`; None for an atom.
      parts: in row-major or left-to-right order.
    """

    size: int
    space: int | None = None
    is_batch: bool = False
    kind: str | None = None
    parts: tuple["Part", ...] = ()


class Traced(NamedTuple):
    """Symmetries of the parameters of one function.

    Attributes:
      spaces: by number, in the order in which the program first computes them.
      layout: per parameter and axis, the spaces on it; None for axes of one index.
      unknown: primitives without a rule, and the uses that each of them pinned.
      unused: parameters that the outputs do not depend on.
      statistics: parameters that are statistics of data.
      places: where values show the neurons of a space, behind its activation where that
        is read by a parameter.
      num_equations: how many operations the program has.
    """

    spaces: dict[int, TracedSpace]
    layout: dict[Path, tuple[Tree | None, ...]]
    unknown: dict[str, tuple[Use, ...]]
    unused: tuple[Path, ...]
    statistics: tuple[Path, ...]
    num_equations: int
    places: dict[int, Place]

    def free(self) -> Iterator[int]:
        """Yield the numbers of the spaces that may be permuted."""
        for number, space in self.spaces.items():
            if space.pinned is None:
                yield number

    def reasons(self) -> dict[Use, Reason]:
        """Return why, for every axis (or part of it) that is pinned."""
        return {
            use: space.pinned
            for space in self.spaces.values()
            if space.pinned is not None
            for use in space.uses
        }

    def describe(self) -> str:
        """Return one line for every space."""
        lines = []
        for number, space in self.spaces.items():
            kind = f"pinned: {space.pinned}" if space.pinned else "free"
            over = f", over {list(space.over)}" if space.over else ""
            linear = f", {space.linear} linear" if space.linear else ""
            uses = ", ".join(
                f"{'/'.join(use.path)}[{use.axis}]"
                + (f".{use.position}" if use.position else "")
                for use in space.uses
            )
            lines.append(
                f"#{number} of {space.size}, {kind}, {len(space.scales)} scales,"
                f" {len(space.signs)} signs{over}{linear}: {uses}"
            )
        return "\n".join(lines)
