"""With which exponent every axis scales: linear expressions, and their nullspaces.

If neuron `i` of a space is multiplied by `s_i`, entry `i` of a value along it is
multiplied by `s_i ** e`. The exponents `e` of parameters are unknown, those of all
other values are linear in them, and what a program demands of them are homogeneous
linear equations: over the rationals for positive scales, over GF(2) for signs.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

Number = int | Fraction
Linear = dict[int, Number]
"""Coefficients by variable; never changed once made."""


class Weight(NamedTuple):
    """Exponents of one atom of one value: of positive scales, and of signs."""

    scale: Linear
    sign: Linear


ZERO = Weight({}, {})


def variable(number: int) -> Weight:
    """Return an unknown exponent."""
    return Weight({number: 1}, {number: 1})


def plus(a: Weight, b: Weight, factor: int = 1) -> Weight:
    """Return `a + factor * b`."""
    if not b.scale and not b.sign:
        return a
    return Weight(_plus(a.scale, b.scale, factor), _plus_sign(a.sign, b.sign))


def times(weight: Weight, scale: Number, sign: int) -> Weight:
    """Return a weight whose two exponents are multiplied by a number each."""
    if weight is ZERO:
        return ZERO
    return Weight(
        {v: c * scale for v, c in weight.scale.items()} if scale else {},
        weight.sign if sign % 2 else {},
    )


def nullspace(
    equations: Iterable[Linear], wanted: Sequence[int], is_sign: bool
) -> list[Linear]:
    """Return a basis of what a homogeneous system leaves free.

    Args:
      equations: left-hand sides, all equal to 0.
      wanted: variables that the solutions are restricted to, in order; the equations
        may speak of others.
      is_sign: compute over GF(2) and not over the rationals.

    Returns:
      The basis in reduced echelon form: it depends on the space of solutions alone.
    """
    is_wanted = set(wanted)
    pivots: dict[int, Linear] = {}
    for equation in equations:
        row = _substitute(equation, pivots, is_sign)
        if not row:
            continue
        # The latest, so that all are soon expressed by the first: rows stay short.
        pivot = max(row, key=lambda v: (v not in is_wanted, v))
        pivots[pivot] = _divided(row, pivot, is_sign)
    for pivot in reversed(list(pivots)):  # later rows speak of free variables only
        pivots[pivot] = _substitute(pivots[pivot], pivots, is_sign)
    basis: dict[int, Linear] = {}
    for v in wanted:
        for free, c in pivots.get(v, {v: 1}).items():
            basis.setdefault(free, {})[v] = c
    return _echelon(basis.values(), wanted, is_sign)


def oriented(row: Linear, columns: Sequence[int], roles: Sequence[int]) -> Linear:
    """Return a solution or its opposite, so that scales multiply what is written."""
    total = sum(row.get(v, 0) * r for v, r in zip(columns, roles, strict=True))
    return {v: -c for v, c in row.items()} if total < 0 else row


def _plus(a: Linear, b: Linear, factor: Number) -> Linear:
    out = dict(a)
    for v, c in b.items():
        total = out.get(v, 0) + factor * c
        if total:
            out[v] = total
        else:
            out.pop(v, None)
    return out


def _plus_sign(a: Linear, b: Linear) -> Linear:
    out = dict(a)
    for v in b:
        if out.pop(v, None) is None:
            out[v] = 1
    return out


def _substitute(row: Linear, pivots: dict[int, Linear], is_sign: bool) -> Linear:
    while known := [v for v in row if v in pivots]:
        for v in known:
            if (c := row.get(v)) is None:
                continue
            rest = {u: x for u, x in row.items() if u != v}
            row = _plus_sign(rest, pivots[v]) if is_sign else _plus(rest, pivots[v], c)
    return row


def _divided(row: Linear, pivot: int, is_sign: bool) -> Linear:
    """Solve `row = 0` for a variable and return what it is equal to."""
    if is_sign:
        return {v: 1 for v in row if v != pivot}
    return {v: _over(-c, row[pivot]) for v, c in row.items() if v != pivot}


def _over(a: Number, b: Number) -> Number:
    quotient = Fraction(a) / b
    return quotient.numerator if quotient.denominator == 1 else quotient


def _echelon(
    rows: Iterable[Linear], order: Sequence[int], is_sign: bool
) -> list[Linear]:
    place = {v: i for i, v in enumerate(order)}
    reduced: dict[int, Linear] = {}
    for row in rows:
        for pivot in [v for v in row if v in reduced]:
            if pivot in row:
                row = _eliminated(row, reduced[pivot], pivot, is_sign)
        if not row:
            continue
        first = min(row, key=place.__getitem__)
        row = {v: _over(c, row[first]) for v, c in row.items()}
        for pivot, other in reduced.items():
            if first in other:
                reduced[pivot] = _eliminated(other, row, first, is_sign)
        reduced[first] = row
    return [reduced[v] for v in sorted(reduced, key=place.__getitem__)]


def _eliminated(row: Linear, by: Linear, pivot: int, is_sign: bool) -> Linear:
    return _plus_sign(row, by) if is_sign else _plus(row, by, -row[pivot])
