"""Which atoms may be permuted independently for each index of which others.

B may be permuted anew for every index of A if A accompanies B in every value, and if,
wherever B is contracted, A is a batch axis or is contracted with it. So heads carry
their own dimensions, experts their own units, and the layers of a scan all of theirs:
the scanned axis accompanies whatever is in the body and does not come from a carry.
"""

from collections import Counter
from collections.abc import Iterable

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Atom
from symmerge_jax.tracing._values import Value


class Fibres:
    """Collects which atoms accompany which.

    Attributes:
      companions: by the number of an atom, those of the atoms that accompany it so far.
      ambient: atoms that accompany all values now: scanned axes.
      used: atoms of what values other than parameters are computed from.
    """

    def __init__(self):
        self.companions: dict[int, set[int]] = {}
        self.ambient: list[int] = []
        self.used: set[int] = set()
        self._seen: set[tuple[int, ...]] = set()

    def note(self, value: Value) -> None:
        """Look at one value."""
        axes = [_atoms.find(axis) for axis in value.axes if axis is not None]
        if value.places is not None:
            axes.append(_atoms.find(value.places.axis))
        key = (*(axis.number for axis in axes), 0, *self.ambient)
        if key in self._seen:
            return
        self._seen.add(key)
        counts = Counter(self.ambient)
        for axis in axes:
            counts.update(_multiplicity(axis))
        certain = [_certain(axis) for axis in axes]
        for i, axis in enumerate(axes):
            around = set(self.ambient).union(*certain[:i], *certain[i + 1 :])
            for leaf, others in _around(axis, around):
                self._keep(leaf, others, counts)

    def use(self, operands: Iterable[Value], results: Iterable[Value]) -> None:
        """Look at an operation that calls no program."""
        if not all(value.is_raw for value in results):
            for axis in (axis for value in operands for axis in value.axes):
                self.used.update(leaf.number for leaf in _atoms.leaves(axis))

    def contract(self, contracted: Iterable[Atom], batch: Iterable[Atom] = ()) -> None:
        """Look at a sum over some axes: others than these are told apart meanwhile."""
        summed = [leaf.number for leaf in contracted]
        around = [*summed, *(leaf.number for leaf in batch), *self.ambient]
        counts = Counter(around)
        for leaf in summed:
            self._keep(leaf, set(around) - {leaf}, counts)

    def over(self, leaf: Atom) -> set[int]:
        """Return the numbers of the atoms that accompany this one everywhere."""
        return self.companions.get(leaf.number, set())

    def _keep(self, leaf: int, others: set[int], counts: Counter[int]) -> None:
        if counts[leaf] > 1:
            others = set()
        else:
            others = {other for other in others if counts[other] == 1}
        known = self.companions.get(leaf)
        self.companions[leaf] = others if known is None else known & others


def _multiplicity(axis: Atom) -> Counter[int]:
    """Count how often atoms can stand on one index of an axis."""
    axis = _atoms.find(axis)
    if axis.kind is None:
        return Counter([axis.number])
    total: Counter[int] = Counter()
    for part in axis.parts:
        more = _multiplicity(part)
        total = total + more if axis.kind == "product" else total | more
    return total


def _certain(axis: Atom) -> set[int]:
    """Return the atoms that every index of an axis has."""
    axis = _atoms.find(axis)
    if axis.kind is None:
        return {axis.number}
    parts = [_certain(part) for part in axis.parts]
    return set.union(*parts) if axis.kind == "product" else set.intersection(*parts)


def _around(axis: Atom, around: set[int]) -> Iterable[tuple[int, set[int]]]:
    """Yield the atoms of an axis with those that are certain to accompany each."""
    axis = _atoms.find(axis)
    if axis.kind is None:
        yield axis.number, around - {axis.number}
        return
    for i, part in enumerate(axis.parts):
        beside = around
        if axis.kind == "product":
            rest = axis.parts[:i] + axis.parts[i + 1 :]
            beside = around.union(*(_certain(other) for other in rest))
        yield from _around(part, beside)
