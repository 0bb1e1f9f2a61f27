"""Where the program shows the values of neurons."""

from collections.abc import Sequence
from typing import NamedTuple

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis


class Sight(NamedTuple):
    """One value of the program.

    Attributes:
      where: numbers of the equation and of those whose programs it is in, each behind
        the number of its branch.
      operand: number of the operand; -1 for the first result.
      axes: of the value, behind the steps of the scans that the equation is in.
    """

    where: tuple[int, ...]
    operand: int
    axes: tuple[Axis, ...]


class Sights:
    """Collects where atoms are read by parameters, and where these write them."""

    def __init__(self):
        self._readers: dict[int, Sight] = {}
        self._writers: dict[int, Sight] = {}

    def note(self, axes: Sequence[Axis], sight: Sight) -> None:
        """Keep the last value that a parameter reads, and the first that one writes."""
        for leaf in (leaf for axis in axes for leaf in _atoms.leaves(axis)):
            if sight.operand < 0:
                self._writers.setdefault(leaf.number, sight)
            else:
                self._readers[leaf.number] = sight

    def of(self, number: int) -> Sight | None:
        """Return where an atom is best seen: behind its activation, if it is read."""
        return self._readers.get(number) or self._writers.get(number)
