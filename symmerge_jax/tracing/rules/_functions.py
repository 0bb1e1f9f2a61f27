"""Rules of functions of one entry: which scales they let through."""

from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Value
from symmerge_jax.tracing._weights import change, replace
from symmerge_jax.tracing.rules._elementwise import folded, is_inexact, result

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
STEPS = ("floor", "ceil", "round", "sign")


@rule(*LINEAR, indices=True)
def keep(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """Linear functions of single entries keep all exponents."""
    name = eqn.primitive.name
    if name == "neg":
        values = tuple(ctx.as_numbers(value) for value in values)
        return [v._replace(constant=folded(name, (v,))) for v in values]
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
    if value.places is not None or jnp.issubdtype(dtype, np.inexact):
        return value
    if not is_inexact(eqn.invars[0]):
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
        return result(eqn, value.axes, weights, (value,))
    if name != "sign":
        ctx.mute(value, sign=False)
    weights = [replace(w, keep_scale=False, keep_sign=True) for w in value.weights]
    return result(eqn, value.axes, weights, (value,), ties=name in STEPS)


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
    return result(eqn, value.axes, weights, (value,))


@rule("is_finite")
def is_finite(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """No scale makes a finite number infinite."""
    return ctx.value(value.shape, value.axes)._replace(ties=True)
