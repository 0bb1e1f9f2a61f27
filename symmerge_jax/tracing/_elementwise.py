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
from symmerge_jax.tracing._interpreter import Interpreter, change, replace, total
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value, Weights

LINEAR = (
    "neg",
    "stop_gradient",
    "copy",
    "real",
    "conj",
    "reduce_precision",
    "name",
    "optimization_barrier",
    "sharding_constraint",
    "device_put",
    "pvary",
)
ODD = (
    "tanh",
    "sin",
    "tan",
    "erf",
    "erf_inv",
    "asinh",
    "asin",
    "atan",
    "sinh",
    "atanh",
    "bessel_i1e",
)
EVEN = ("cos", "cosh", "bessel_i0e")
NEITHER = (
    "exp",
    "exp2",
    "log",
    "log1p",
    "expm1",
    "logistic",
    "erfc",
    "floor",
    "ceil",
    "acos",
    "acosh",
    "lgamma",
    "digamma",
    "imag",
    "clz",
    "population_count",
    "not",
)
POWERS = {
    "sqrt": Fraction(1, 2),
    "rsqrt": Fraction(-1, 2),
    "square": 2,
    "abs": 1,
}
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
STEPS = ("floor", "ceil", "round", "sign")
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
    """A sum scales as its terms do, which must scale alike; 0 scales as one likes."""
    if eqn.primitive.name != "add_any":
        for index, number in ((a, b), (b, a)):
            if index.index and number.index is None and number.constant is not None:
                shifted = Index(index.index.axis, is_shifted=True)
                return index._replace(index=shifted, is_raw=False, constant=None)
    a, b = ctx.as_numbers(a), ctx.as_numbers(b)
    axes = join(ctx, eqn, (a, b))
    return _result(eqn, axes, alike(ctx, axes, (a, b)), (a, b))


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
    return _result(eqn, axes, weights, (a, b), ties=True)


@rule("clamp", indices=True)
def clamp(ctx: Interpreter, eqn: Any, low: Value, x: Value, high: Value) -> Value:
    """Clamping is a maximum and a minimum; indices within the bounds stay as they are."""
    if x.index and not x.index.is_shifted and _covers(low, high, x.index):
        return x
    low, x, high = (ctx.as_numbers(value) for value in (low, x, high))
    axes = join(ctx, eqn, (low, x, high))
    weights = alike(ctx, axes, (x, low, high), infinity=True)
    return _result(eqn, axes, _without_signs(ctx, axes, weights), (x,), ties=True)


@rule("select_n", indices=True)
def select(ctx: Interpreter, eqn: Any, which: Value, *cases: Value) -> Value:
    """Chosen entries scale as the cases do, which must scale alike; the choice must not.

    0 scales as one likes, and so does an infinity by positive numbers.
    """
    if which.constant is not None and which.index is None:
        return cases[int(which.constant)]
    which = ctx.as_numbers(which)
    index = None
    if any(case.index for case in cases):
        index = ctx.same_index(cases)
    axes = join(ctx, eqn, (which, *cases))
    ctx.mute(which)
    weights = alike(ctx, axes, cases, infinity=True)
    out = _result(eqn, axes, weights, cases, ties=True)
    return out._replace(index=index)


@rule("mul", "div")
def multiply(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """Exponents of factors add up, those of a divisor are subtracted."""
    axes = join(ctx, eqn, (a, b))
    sign = 1 if eqn.primitive.name == "mul" else -1
    weights = [
        total(ctx.along(a, i, axis), ctx.along(b, i, axis), sign)
        for i, axis in enumerate(axes)
    ]
    if eqn.primitive.name == "div" and not _is_inexact(eqn.outvars[0]):
        for axis, weight in zip(axes, weights, strict=True):
            ctx.require(axis, weight)
    return _result(eqn, axes, weights, (a, b))


@rule("eq", "ne", "lt", "le", "gt", "ge", indices=True)
def compare(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """A comparison does not change if both sides scale alike by positive numbers.

    Equality bears signs as well. Two indices into one axis are equal or not whatever
    the order of the axis; an index is never negative.
    """
    name = eqn.primitive.name
    is_equality = name in ("eq", "ne")
    shape = tuple(eqn.outvars[0].aval.shape)
    if a.index and not a.index.is_shifted and b.index is None:
        if b.constant is not None and b.constant <= 0 and name in ("lt", "ge"):
            return ctx.value(shape, (None,) * len(shape))._replace(
                constant=name == "ge"
            )
    if not (is_equality and a.index and b.index and ctx.same_index((a, b))):
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
    return _result(eqn, axes, weights, (a,))


@rule(*MIXED)
def mix(ctx: Interpreter, eqn: Any, *values: Value) -> Value:
    """Functions of several entries that bear no scale at all."""
    axes = join(ctx, eqn, values)
    for value in values:
        ctx.mute(value)
    out = ctx.value(eqn.outvars[0].aval.shape, axes)
    return out._replace(ties=_ties(values))


@rule(*LINEAR, indices=True)
def keep(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """Linear functions of single entries keep all exponents."""
    name = eqn.primitive.name
    if name == "neg":
        values = tuple(ctx.as_numbers(value) for value in values)
        return [v._replace(constant=_folded(name, (v,))) for v in values]
    if name in ("reduce_precision", "real", "conj"):
        values = tuple(ctx.as_numbers(value) for value in values)
    return list(values)


@rule("convert_element_type", indices=True)
def convert(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A cast between real types is linear up to rounding, which the lemmas leave out.

    A cast of reals to integers rounds and lets no scale through; one to booleans asks
    what is not 0, which no scale changes.
    """
    dtype = eqn.params["new_dtype"]
    if not jnp.issubdtype(dtype, np.integer):
        value = ctx.as_numbers(value)
    if value.index is not None or jnp.issubdtype(dtype, np.inexact):
        return value
    if not _is_inexact(eqn.invars[0]):
        return value
    if dtype != np.bool_:
        ctx.mute(value)
        constant = value.constant
        if constant is not None:
            constant = np.trunc(constant)
        out = ctx.value(value.shape, value.axes)
        return out._replace(constant=constant, is_raw=value.is_raw)
    return ctx.value(value.shape, value.axes)


@rule(*ODD, "round", "sign", "cbrt")
def odd(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """An odd function keeps signs and lets no positive scale through.

    The sign forgets positive scales, a cube root takes a third of their exponents.
    """
    name = eqn.primitive.name
    if name == "cbrt":
        weights = [change(w, Fraction(1, 3), 1) for w in value.weights]
        return _result(eqn, value.axes, weights, (value,))
    if name != "sign":
        ctx.mute(value, sign=False)
    weights = [replace(w, keep_scale=False, keep_sign=True) for w in value.weights]
    return _result(eqn, value.axes, weights, (value,), ties=name in STEPS)


@rule(*EVEN)
def even(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """An even function forgets signs and lets no positive scale through."""
    ctx.mute(value, sign=False)
    return ctx.value(value.shape, value.axes)._replace(ties=value.ties)


@rule(*NEITHER)
def neither(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Functions of one entry that let neither signs nor positive scales through."""
    ctx.mute(value)
    ties = value.ties or eqn.primitive.name in STEPS
    return ctx.value(value.shape, value.axes)._replace(ties=ties)


@rule(*POWERS, "integer_pow")
def fixed_power(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A power multiplies exponents; an even one forgets signs, a root bears none."""
    name = eqn.primitive.name
    exponent = eqn.params["y"] if name == "integer_pow" else POWERS[name]
    parity = 0 if name == "abs" else int(exponent)
    if isinstance(exponent, Fraction):
        ctx.mute(value, scale=False)
        parity = 0
    weights = [change(w, exponent, parity) for w in value.weights]
    return _result(eqn, value.axes, weights, (value,))


@rule("is_finite")
def is_finite(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """No scale makes a finite number infinite."""
    return ctx.value(value.shape, value.axes)._replace(ties=True)


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


def _result(
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
        constant=_folded(eqn.primitive.name, values),
        ties=ties or _ties(values),
    )


def _folded(name: str, values: Sequence[Value]) -> Any:
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


def _is_inexact(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, np.inexact)
