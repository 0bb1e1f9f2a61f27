"""Rules of element-wise operations.

An operation that acts entry by entry commutes with every permutation of the indices, so
its operands and its result run over the same axes. The rules differ in the scales that
they let through.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value, Weights
from symmerge_jax.tracing._weights import change, replace, total

MIXED = (
    "and",
    "or",
    "xor",
    "rem",
    "nextafter",
    "shift_left",
    "shift_right_logical",
    "shift_right_arithmetic",
    "igamma",
    "igammac",
    "igamma_grad_a",
    "mulhi",
    "polygamma",
    "regularized_incomplete_beta",
    "zeta",
    "complex",
)
FOLDED = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
}


@rule("add", "sub", "add_any", indices=True)
def add(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """A sum scales as its terms do, which must scale alike; 0 scales as one likes.

    Indices plus a constant are of use only to what takes it away, unless it is 0.
    """
    shape = tuple(eqn.outvars[0].aval.shape)
    for index, number in ((a, b), (b, a)):
        if index.places is None or number.places or number.constant is None:
            continue
        is_difference = eqn.primitive.name == "sub" and index is b
        if index.shape == shape and number.is_zero and not is_difference:
            return index
        if index.shape == shape:
            shifted = Index(index.places.axis, is_shifted=True)
            return index._replace(places=shifted, is_raw=False, constant=None)
    a, b = ctx.as_numbers(a), ctx.as_numbers(b)
    axes = join(ctx, eqn, (a, b))
    return result(eqn, axes, alike(ctx, axes, (a, b)), (a, b))


@rule("max", "min")
def extremum(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """The larger of two entries scales with them by positive numbers, not by signs.

    An infinity stays what it is under positive scales. The other operand, where it is
    the neutral element, is the result.
    """
    neutral = -np.inf if eqn.primitive.name == "max" else np.inf
    for value, other in ((a, b), (b, a)):
        same_shape = value.shape == tuple(eqn.outvars[0].aval.shape)
        if other.constant is not None and other.constant == neutral and same_shape:
            return value
    axes = join(ctx, eqn, (a, b))
    weights = alike(ctx, axes, (a, b), infinity=True)
    weights = _without_signs(ctx, axes, weights)
    return result(eqn, axes, weights, (a, b), ties=True)


@rule("clamp", indices=True)
def clamp(ctx: Interpreter, eqn: Any, low: Value, x: Value, high: Value) -> Value:
    """Clamping is a maximum and a minimum; indices within the bounds stay."""
    if x.places and not x.places.is_shifted and _covers(low, high, x.places):
        return x
    low, x, high = (ctx.as_numbers(value) for value in (low, x, high))
    axes = join(ctx, eqn, (low, x, high))
    weights = alike(ctx, axes, (x, low, high), infinity=True)
    return result(eqn, axes, _without_signs(ctx, axes, weights), (x,), ties=True)


@rule("select_n", indices=True)
def select(ctx: Interpreter, eqn: Any, which: Value, *cases: Value) -> Value:
    """Chosen entries scale as all cases do, alike; the choice bears no scale.

    0 scales as one likes, and so does an infinity by positive numbers.
    """
    if which.constant is not None and which.places is None:
        return cases[int(which.constant)]
    which = ctx.as_numbers(which)
    index = None
    if any(case.places for case in cases):
        index = ctx.same_index(cases)
    axes = join(ctx, eqn, (which, *cases))
    ctx.mute(which)
    weights = alike(ctx, axes, cases, infinity=True)
    out = result(eqn, axes, weights, cases, ties=True)
    return out._replace(places=index)


@rule("mul", "div")
def multiply(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """Exponents of factors add up, those of a divisor are subtracted."""
    axes = join(ctx, eqn, (a, b))
    sign = 1 if eqn.primitive.name == "mul" else -1
    weights = [
        total(ctx.along(a, i, axis), ctx.along(b, i, axis), sign)
        for i, axis in enumerate(axes)
    ]
    if eqn.primitive.name == "div" and not is_inexact(eqn.outvars[0]):
        for axis, weight in zip(axes, weights, strict=True):
            ctx.require(axis, weight)
    return result(eqn, axes, weights, (a, b))


@rule("eq", "ne", "lt", "le", "gt", "ge", indices=True)
def compare(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """A comparison does not change if both sides scale alike by positive numbers.

    Equality bears signs as well. Two indices into one axis are equal or not whatever
    the order of the axis; an index is never negative.
    """
    name = eqn.primitive.name
    is_equality = name in ("eq", "ne")
    shape = tuple(eqn.outvars[0].aval.shape)
    is_index = a.places is not None and not a.places.is_shifted and b.places is None
    is_low = b.constant is not None and b.constant <= 0
    if is_index and is_low and name in ("lt", "ge"):
        return ctx.value(shape, [None] * len(shape))._replace(constant=name == "ge")
    if not (is_equality and a.places and b.places and ctx.same_index((a, b))):
        a, b = ctx.as_numbers(a), ctx.as_numbers(b)
    axes = join(ctx, eqn, (a, b))
    weights = alike(ctx, axes, (a, b), infinity=True)
    if not is_equality:
        _without_signs(ctx, axes, weights)
    return ctx.value(shape, axes)._replace(ties=True)


@rule("atan2")
def angle(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """The angle of two sides does not change if both scale by one positive number."""
    axes = join(ctx, eqn, (a, b))
    _without_signs(ctx, axes, alike(ctx, axes, (a, b)))
    return ctx.value(eqn.outvars[0].aval.shape, axes)


@rule("pow")
def power(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """A constant power multiplies the exponents of positive scales; others let none."""
    axes = join(ctx, eqn, (a, b))
    exponent = None
    if b.constant is not None and np.isfinite(b.constant):
        exponent = Fraction(float(b.constant)).limit_denominator(1000)
        if float(exponent) != float(b.constant):
            exponent = None
    if exponent is None:
        ctx.mute(a)
        ctx.mute(b)
        return ctx.value(eqn.outvars[0].aval.shape, axes)._replace(ties=_ties((a, b)))
    weights = [ctx.along(a, i, axis) for i, axis in enumerate(axes)]
    if exponent.denominator != 1:
        weights = _without_signs(ctx, axes, weights)
    factor = exponent.numerator if exponent.denominator == 1 else exponent
    weights = [change(w, factor, int(exponent)) for w in weights]
    return result(eqn, axes, weights, (a,))


@rule(*MIXED)
def mix(ctx: Interpreter, eqn: Any, *values: Value) -> Value:
    """Functions of several entries that bear no scale at all."""
    axes = join(ctx, eqn, values)
    for value in values:
        ctx.mute(value)
    out = ctx.value(eqn.outvars[0].aval.shape, axes)
    return out._replace(ties=_ties(values))


def join(ctx: Interpreter, eqn: Any, values: Sequence[Value]) -> list[Axis]:
    """Unify the axes of operands of one shape (scalars fit) and return them."""
    ndim = len(eqn.outvars[0].aval.shape)
    axes: list[Axis] = [None] * ndim
    text = f"cut in two ways, which {eqn.primitive.name} joins"
    for value in values:
        if len(value.shape) == ndim:
            axes = [
                ctx.unify(a, b, text) for a, b in zip(axes, value.axes, strict=True)
            ]
    for value in values:
        if ndim:
            ctx.set_role(value, range(len(value.axes)), 1)
    return axes


def alike(
    ctx: Interpreter,
    axes: Sequence[Axis],
    values: Sequence[Value],
    infinity: bool = False,
) -> list[Weights]:
    """Demand that all values scale alike along every axis and return how.

    Args:
      ctx: the interpreter.
      axes: what the values were joined to.
      values: those that are known to be 0 do not count.
      infinity: those that are known to be infinite bear positive scales.
    """
    fixed = [v for v in values if not v.is_zero]
    moving = [v for v in fixed if not (infinity and v.is_infinite)]
    result = []
    for i, axis in enumerate(axes):
        if not fixed:
            result.append(ctx.zeros(axis))
            continue
        if not moving:
            result.append(ctx.along(fixed[0], i, axis))
            continue
        first = ctx.along(moving[0], i, axis)
        for value in moving[1:]:
            ctx.demand_equal(axis, first, ctx.along(value, i, axis))
        if len(moving) < len(fixed):
            ctx.require(axis, first, scale=False)
        result.append(first)
    return result


def _without_signs(
    ctx: Interpreter, axes: Sequence[Axis], weights: Sequence[Weights]
) -> list[Weights]:
    for axis, weight in zip(axes, weights, strict=True):
        ctx.require(axis, weight, scale=False)
    return [replace(w, keep_scale=True, keep_sign=False) for w in weights]


def result(
    eqn: Any,
    axes: Sequence[Axis],
    weights: Sequence[Weights],
    values: Sequence[Value],
    ties: bool = False,
) -> Value:
    return Value(
        tuple(eqn.outvars[0].aval.shape),
        tuple(axes),
        tuple(weights),
        constant=folded(eqn.primitive.name, values),
        ties=ties or _ties(values),
    )


def folded(name: str, values: Sequence[Value]) -> Any:
    constants = [value.constant for value in values]
    if name not in FOLDED or any(c is None for c in constants):
        return None
    with np.errstate(all="ignore"):
        return FOLDED[name](*constants)


def _ties(values: Sequence[Value]) -> bool:
    return any(value.ties for value in values if value.constant is None)


def _covers(low: Value, high: Value, index: Index) -> bool:
    return (
        low.constant is not None
        and high.constant is not None
        and low.constant <= 0
        and high.constant >= index.axis.size - 1
    )


def is_inexact(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, np.inexact)
