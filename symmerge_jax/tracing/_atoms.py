"""Which axes run over the same indices: a union-find over atoms that refines itself.

An axis is an *atom*, a row-major *product* of axes (what a reshape makes) or a
*concatenation* of axes (what lies side by side). Two axes that must run over the same
indices are unified: one becomes the other, and where one is cut finer, so is the other,
with every axis that was unified with it before. An atom whose indices are told apart is
*pinned*. None stands for an axis along which a value is constant: it fits everything.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Kind = Literal["product", "concatenation"]

MAX_PIECES = 512
"""An axis in more pieces than this is pinned: a roll would cut it index by index."""


class Atom:
    """An axis: an atom, or a product or concatenation of `parts`.

    Attributes:
      size: number of indices.
      kind: None, "product" or "concatenation".
      parts: axes that it consists of.
      pinned: reason why an atom may not be permuted, or None.
      number: counts the axes by age; the oldest of a class stands for it.
    """

    __slots__ = ("_leaves", "_parent", "kind", "number", "parts", "pinned", "size")

    def __init__(self, number: int, size: int, kind: Kind | None, parts: list["Atom"]):
        self.number = number
        self.size = size
        self.kind: Kind | None = kind
        self.parts = parts
        self.pinned: Any = None
        self._parent: Atom | None = None
        self._leaves: list[Atom] = []


Axis = Atom | None


def find(axis: Atom) -> Atom:
    """Return the axis that stands for a class."""
    while (parent := axis._parent) is not None:
        if parent._parent is not None:
            axis._parent = parent._parent
        axis = parent
    return axis


def leaves(axis: Axis) -> list[Atom]:
    """Return the atoms of an axis, in row-major and left-to-right order."""
    if axis is None:
        return []
    root = find(axis)
    if root.kind is None:
        return [root]
    known = root._leaves
    if known and all(leaf._parent is None and leaf.kind is None for leaf in known):
        return known
    root._leaves = [leaf for part in root.parts for leaf in leaves(part)]
    return root._leaves


def is_pinned(axis: Axis) -> bool:
    """Return whether every atom of an axis is pinned (None is not)."""
    return axis is not None and all(leaf.pinned for leaf in leaves(axis))


class Atoms:
    """All axes of one program.

    Attributes:
      num_changes: how often axes that are older than the present pass were unified, cut
        or pinned; a pass that changes nothing has reached the fixed point.
    """

    def __init__(self):
        self.num_changes = 0
        self._count = 0
        self._young = 0

    def begin_pass(self) -> None:
        """Start a pass: axes made from here on are young until the next one."""
        self.num_changes = 0
        self._young = self._count

    def new(
        self, size: int, kind: Kind | None = None, parts: Sequence[Atom] = ()
    ) -> Atom:
        """Return a new axis."""
        self._count += 1
        return Atom(self._count, size, kind, list(parts))

    def product(self, parts: Iterable[Atom]) -> Atom:
        """Return the row-major product of axes, the last one fastest."""
        return self._compose("product", parts, math.prod)

    def concatenation(self, parts: Iterable[Atom]) -> Atom:
        """Return axes side by side."""
        return self._compose("concatenation", parts, sum)

    def pin(self, axis: Axis, reason: Any) -> None:
        """Fix the order of all atoms of an axis; the first reason stays."""
        for leaf in leaves(axis):
            if not leaf.pinned:
                self._changed(leaf)
                leaf.pinned = reason

    def unify(self, a: Axis, b: Axis, reason: Any) -> Axis:
        """Make two axes run over the same indices and return what they became.

        Axes that cannot be cut alike stay two, and all their atoms are pinned.

        Args:
          a: an axis, or None where a value is constant.
          b: the other.
          reason: why atoms are pinned, if they must be.
        """
        if a is None or b is None:
            return b if a is None else a
        a, b = find(a), find(b)
        if a is b:
            return a
        if a.size != b.size:
            raise AssertionError(f"axes of {a.size} and {b.size} indices meet")
        if b.number < a.number:
            a, b = b, a
        if a.kind is None and b.kind is not None:
            a, b = b, a
        if b.kind is None:
            self._changed(b)
            if b.pinned:
                self.pin(a, b.pinned)
            b._parent = a
            return a
        if a.kind == b.kind:
            done = self._refine_together(a, b, reason)
        elif a.kind == "product":
            done = self._align_pieces(a, b, reason)
        else:
            done = self._align_pieces(b, a, reason)
        if not done:
            self.pin(a, reason)
            self.pin(b, reason)
        return find(a)

    def refine(
        self, axis: Atom, kind: Kind, sizes: Sequence[int], reason: Any
    ) -> list[Atom] | None:
        """Cut an axis into parts of these sizes and return them.

        Returns:
          The parts; None if the axis is cut otherwise already, and is now pinned.
        """
        if len(sizes) == 1:
            return [find(axis)]
        root = find(axis)
        if root.kind == kind and [find(p).size for p in root.parts] == list(sizes):
            return root.parts
        made = self.new(root.size, kind, [self.new(size) for size in sizes])
        parts = made.parts
        self.unify(root, made, reason)
        return [find(p) for p in parts] if find(made) is find(root) else None

    def _compose(self, kind: Kind, parts: Iterable[Atom], total) -> Atom:
        flat: list[Atom] = []
        for part in parts:
            root = find(part)
            flat += root.parts if root.kind == kind else [root]
        if len(flat) == 1:
            return flat[0]
        return self.new(total(part.size for part in flat), kind, flat)

    def _changed(self, axis: Atom) -> None:
        self.num_changes += axis.number <= self._young

    def _refine_together(self, a: Atom, b: Atom, reason: Any) -> bool:
        """Cut two products, or two concatenations, at the cuts of both."""
        kind = a.kind
        assert kind is not None
        left, right = a.parts[::-1], b.parts[::-1]
        common: list[Atom] = []
        while left and right:
            x, y = find(left.pop()), find(right.pop())
            if x.kind == kind:
                left += x.parts[::-1]
                right.append(y)
            elif y.kind == kind:
                right += y.parts[::-1]
                left.append(x)
            elif x.size == y.size:
                joined = self.unify(x, y, reason)
                if find(x) is not find(y) or joined is None:
                    return False
                common.append(joined)
            else:
                big, small = (x, y) if x.size > y.size else (y, x)
                if kind == "product" and big.size % small.size:
                    return False
                rest = (
                    big.size // small.size
                    if kind == "product"
                    else big.size - small.size
                )
                if not self.refine(big, kind, [small.size, rest], reason):
                    return False
                left.append(x)
                right.append(y)
            if len(common) > MAX_PIECES:
                return False
        if len(common) != len(a.parts):
            self._changed(a)
        self._changed(b)
        a.parts = common
        b._parent = a
        return True

    def _align_pieces(self, product: Atom, pieces: Atom, reason: Any) -> bool:
        """Let k pieces of m indices run over a product `[k, m]`: k is pinned."""
        smallest = min(find(part).size for part in pieces.parts)
        if smallest == 1 or any(find(p).size % smallest for p in pieces.parts):
            return False
        flat: list[Atom] = []
        for part in pieces.parts:
            sizes = [smallest] * (find(part).size // smallest)
            cut = self.refine(part, "concatenation", sizes, reason)
            if cut is None:
                return False
            flat += cut
        whole = self.refine(product, "product", [len(flat), smallest], reason)
        if whole is None:
            return False
        count, piece = whole
        self.pin(count, reason)
        for part in flat:
            self.unify(part, piece, reason)
            if find(part) is not find(piece):
                return False
        if find(pieces) is not find(product):
            self._changed(pieces)
            find(pieces)._parent = find(product)
        return True
