"""Spaces that only linear operations touch, and those that sums of squares touch too.

On the first, every invertible matrix acts (the dimensions of queries and keys), on the
second every orthogonal one (a stream normalised without a scale of its own): symmetries
beyond permutations, scales and signs. An atom is linear as long as all values along it
are added, multiplied by what is constant along it, and contracted with each other. A
product of two such values is a square: fine if it is summed over the atom next.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._values import Value

MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "copy",
    "copy_p",
    "dynamic_slice",
    "gather",
    "name",
    "neg",
    "optimization_barrier",
    "pad",
    "reshape",
    "sharding_constraint",
    "slice",
    "split",
    "squeeze",
    "stack",
    "stop_gradient",
    "tile",
    "transpose",
    "unstack",
}
"""Operations that pin what they tell apart and are linear along all other axes."""

CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "call",
    "core_call",
    "checkpoint",
    "remat",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
    "scan",
    "while",
    "cond",
}
"""Programs whose equations are looked at one by one."""


class Linearity:
    """Collects what is done along every atom.

    Attributes:
      spoilt: numbers of atoms along which something is not linear.
      squared: numbers of atoms over which squares are summed.
    """

    def __init__(self):
        self.spoilt: set[int] = set()
        self.squared: set[int] = set()

    def observe(
        self, equation: Any, operands: Sequence[Value], results: Sequence[Value]
    ) -> Sequence[Value]:
        """Look at one operation; return its results, marked along what is a square."""
        name = equation.primitive.name
        if name in CALLS:
            return results
        if name in MOVES:
            return [self._moved(value, operands) for value in results]
        squares: set[int] = set()
        if name in ("add", "sub", "add_any"):
            squares = self._add(*operands)
        elif name in ("mul", "div"):
            squares = self._multiply(*operands, is_division=name == "div")
        elif name == "square" or (name == "integer_pow" and equation.params["y"] == 2):
            squares = self._multiply(operands[0], operands[0], is_division=False)
        elif name == "reduce_sum":
            summed = [operands[0].axes[int(i)] for i in equation.params["axes"]]
            squares = self._sum(operands[0], summed)
        elif name == "dot_general":
            squares = self._contract(equation, *operands)
        else:
            for value in (*operands, *results):
                self.spoil(value)
            return results
        return [value._replace(squares=frozenset(squares)) for value in results]

    def spoil(self, value: Value) -> None:
        """Take down that something that is not linear is done to a value."""
        self.spoilt |= _numbers(value.axes)

    def spoil_squares(self, value: Value) -> None:
        """Take down that squares go where they are not followed."""
        self.spoilt |= value.squares

    def spoil_constant(self, value: Value, other: Value) -> None:
        """Take down where a value meets another that is constant: that is no vector."""
        self.spoilt |= _numbers(value.axes) - _numbers(other.axes)

    def kind(self, number: int) -> str | None:
        """Return which matrices act on an atom: "general", "orthogonal" or None."""
        if number in self.spoilt:
            return None
        return "orthogonal" if number in self.squared else "general"

    def _moved(self, value: Value, operands: Sequence[Value]) -> Value:
        squares = frozenset[int]().union(*(v.squares for v in operands))
        for operand in operands:
            if not operand.is_zero:
                self.spoilt |= (_numbers(operand.axes) & squares) - operand.squares
        return value._replace(squares=squares)

    def _add(self, a: Value, b: Value) -> set[int]:
        for value, other in ((a, b), (b, a)):
            if not other.is_zero:
                self.spoil_constant(value, other)
                self.spoilt |= (value.squares - other.squares) & _numbers(other.axes)
        return set(a.squares | b.squares)

    def _multiply(self, a: Value, b: Value, is_division: bool) -> set[int]:
        left, right = _numbers(a.axes), _numbers(b.axes)
        if is_division:
            self.spoilt |= right
        both = left & right
        self.spoilt |= both & (a.squares | b.squares)
        return both | set(a.squares | b.squares)

    def _sum(self, value: Value, axes: Iterable[Axis]) -> set[int]:
        summed = _numbers(axes)
        self.squared |= summed & value.squares
        self.spoilt |= summed - value.squares
        return set(value.squares) - summed

    def _contract(self, equation: Any, a: Value, b: Value) -> set[int]:
        (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
        squares: set[int] = set()
        for i, j in zip(left, right, strict=True):
            x, y = _numbers([a.axes[i]]), _numbers([b.axes[j]])
            if x and y:
                self.spoilt |= (x | y) & (a.squares | b.squares)
            else:
                squares |= self._sum(a, [a.axes[i]]) & x
                squares |= self._sum(b, [b.axes[j]]) & y
        batch = _numbers(a.axes[i] for i in left_batch) & _numbers(
            b.axes[j] for j in right_batch
        )
        self.spoilt |= batch & (a.squares | b.squares)
        summed = _numbers([a.axes[i] for i in left] + [b.axes[j] for j in right])
        return (squares | batch | set(a.squares | b.squares)) - summed


def _numbers(axes: Iterable[Axis]) -> set[int]:
    return {leaf.number for axis in axes for leaf in _atoms.leaves(axis)}
