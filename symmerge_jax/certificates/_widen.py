"""A model that computes in float32 or bfloat16, run in float64.

Models often fix their computing type (`nn.Dense(dtype=...)`), and what is rounded to
bfloat16 in every layer hides small mistakes. A symmetry is one of the formula, not of
its rounding: the program is therefore run again without its casts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from symmerge_jax import programs

_CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "checkpoint",
    "remat",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
)
_SCATTERS = {
    "scatter": jax.lax.scatter,
    "scatter-add": jax.lax.scatter_add,
    "scatter-mul": jax.lax.scatter_mul,
    "scatter-min": jax.lax.scatter_min,
    "scatter-max": jax.lax.scatter_max,
}


def widened(call: Callable[..., Any], *arguments: Any) -> Callable[..., Any] | None:
    """Return the same function computed in float64, traced for arguments like these.

    None if the program holds something that is not known here, as kernels written by
    hand.
    """
    closed, shapes = jax.make_jaxpr(lambda *xs: call(*xs), return_shape=True)(
        *arguments
    )
    return widened_program(closed, jax.tree.structure(shapes), *arguments)


def widened_program(
    closed: core.ClosedJaxpr, structure: Any, *arguments: Any
) -> Callable[..., Any] | None:
    """Return a program as a function computed in float64, or None as `widened` does.

    Args:
      closed: of the leaves of arguments like these, of any type of floats.
      structure: of what it returns.
      *arguments: as the function will get them.
    """

    def wide(*arguments):
        leaves = [
            x if jnp.issubdtype(v.dtype, np.inexact) else x.astype(v.dtype)
            for x, v in zip(jax.tree.leaves(arguments), closed.in_avals, strict=True)
        ]
        return jax.tree.unflatten(structure, _run(closed, leaves))

    try:
        jax.eval_shape(wide, *arguments)
    except (TypeError, ValueError, KeyError, NotImplementedError):
        return None
    return wide


def inner_programs(equation) -> list[core.Jaxpr]:
    """Return the programs inside an equation: of calls, loops and branches."""
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def is_call(equation) -> bool:
    """Return whether an equation does no more than run the one program inside it."""
    inner = inner_programs(equation)
    return (
        equation.primitive.name in _CALLS
        and len(inner) == 1
        and len(inner[0].invars) == len(equation.invars)
    )


def _run(closed: core.ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Return the results of a program in float64."""
    return _run_open(closed.jaxpr, closed.consts, arguments)


def _run_open(jaxpr: core.Jaxpr, consts, arguments) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(variable):
        if isinstance(variable, core.Literal):
            return _wide(jnp.asarray(variable.val))
        return values[variable]

    for variables, given in (jaxpr.constvars, consts), (jaxpr.invars, arguments):
        for variable, value in zip(variables, given, strict=True):
            values[variable] = _wide(value)
    for equation in jaxpr.eqns:
        results = _equation(equation, [read(v) for v in equation.invars])
        for variable, value in zip(equation.outvars, results, strict=True):
            values[variable] = value
    return [read(v) for v in jaxpr.outvars]


def _equation(equation, values: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if is_call(equation):
        [program] = [
            x for x in params.values() if isinstance(x, core.ClosedJaxpr | core.Jaxpr)
        ]
        if isinstance(program, core.ClosedJaxpr):
            return _run(program, values)
        return _run_open(program, (), values)
    if name == "scan":
        return _scan(equation, values)
    if name == "while":
        return _while(params, values)
    if name == "cond":
        index, *rest = values
        branches = [lambda *xs, b=b: _run(b, xs) for b in params["branches"]]
        return jax.lax.switch(index, branches, *rest)
    if (scatter := _SCATTERS.get(name.replace("_", "-"))) is not None:
        options = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        return [scatter(*values, **{option: params[option] for option in options})]
    if inner_programs(equation) or name.endswith("callback") or name == "ffi_call":
        raise NotImplementedError(name)  # of its own types, whatever it is
    if name == "reduce_precision":
        return values
    if name == "bitcast_convert_type":  # of bits, which are those of the narrow type
        narrow = [
            x.astype(getattr(v.aval, "dtype", x.dtype))
            for x, v in zip(values, equation.invars, strict=True)
        ]
        return [_wide(equation.primitive.bind(*narrow, **params))]
    changed = {key: _wide_type(value) for key, value in params.items()}
    results = equation.primitive.bind(*values, **changed)
    return results if equation.primitive.multiple_results else [results]


def _scan(equation, values):
    params = equation.params
    num_consts, num_carry = programs.scan_counts(equation)
    consts, rest = values[:num_consts], values[num_consts:]

    def step(carry, row):
        results = _run(params["jaxpr"], [*consts, *carry, *row])
        return results[:num_carry], results[num_carry:]

    carry, rows = jax.lax.scan(
        step,
        rest[:num_carry],
        rest[num_carry:],
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*carry, *rows]


def _while(params, values):
    first, second = params["cond_nconsts"], params["body_nconsts"]
    test, body = values[:first], values[first : first + second]
    return jax.lax.while_loop(
        lambda carry: _run(params["cond_jaxpr"], [*test, *carry])[0],
        lambda carry: _run(params["body_jaxpr"], [*body, *carry]),
        values[first + second :],
    )


def _wide(value: Any) -> Any:
    dtype = value.dtype
    return value.astype(_wide_type(dtype)) if _is_narrow(dtype) else value


def _wide_type(value: Any) -> Any:
    """Return float64 for a narrower type of floats, anything else as it is."""
    is_type = isinstance(value, np.dtype) or (
        isinstance(value, type) and issubclass(value, np.generic)
    )
    if not is_type or not _is_narrow(value):
        return value
    wide = np.complex128 if jnp.issubdtype(value, np.complexfloating) else np.float64
    return np.dtype(wide)


def _is_narrow(dtype: Any) -> bool:
    if not jnp.issubdtype(dtype, np.inexact):
        return False
    return bool(jnp.finfo(dtype).eps > np.finfo(np.float64).eps)
