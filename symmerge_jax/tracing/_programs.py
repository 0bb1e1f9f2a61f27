"""What is read off a jaxpr and its constants before any rule is applied."""

from typing import Any

import jax
import numpy as np
from jax.extend import core


def live_equations(jaxpr: Any) -> list[int]:
    """Return the numbers of the equations that the results depend on."""
    needed = {atom for atom in jaxpr.outvars if not is_literal(atom)}
    live = []
    for i in range(len(jaxpr.eqns) - 1, -1, -1):
        equation = jaxpr.eqns[i]
        if any(var in needed for var in equation.outvars):
            live.append(i)
            needed.update(a for a in equation.invars if not is_literal(a))
    return live[::-1]


def used_variables(jaxpr: Any) -> set[Any]:
    """Return the variables that the results of a program depend on."""
    used = {atom for atom in jaxpr.outvars if not is_literal(atom)}
    for i in live_equations(jaxpr):
        used.update(a for a in jaxpr.eqns[i].invars if not is_literal(a))
    return used


def first_equations(jaxpr: Any) -> list[int]:
    """Return the number of the first equation that takes each argument."""
    first: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        for atom in equation.invars:
            if not is_literal(atom):
                first.setdefault(atom, i)
    return [first.get(var, len(jaxpr.eqns)) for var in jaxpr.invars]


def count_equations(jaxpr: Any) -> int:
    """Return how many equations a program has, with those of its inner programs."""
    total = len(jaxpr.eqns)
    for equation in jaxpr.eqns:
        for inner in core.jaxprs_in_params(equation.params):
            total += count_equations(inner)
    return total


def is_literal(atom: Any) -> bool:
    """Return whether an operand stands in the program."""
    return isinstance(atom, core.Literal)


def is_real(aval: Any) -> bool:
    """Return whether entries are real or complex floats."""
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jax.numpy.issubdtype(dtype, np.inexact)


def constancy(array: Any) -> tuple[Any, list[bool]]:
    """Return the one entry of an array, or None, and on which axes it is constant."""
    shape = np.shape(array)
    if jax.dtypes.issubdtype(getattr(array, "dtype", np.float32), jax.dtypes.extended):
        return None, [size == 1 for size in shape]
    array = np.asarray(array)
    if array.dtype.kind == "V" or str(array.dtype) in ("bfloat16",):
        array = array.astype(np.float32)
    if array.size and (array == array.flat[0]).all():
        return array.flat[0], [True] * array.ndim
    return None, [
        size == 1 or bool((array == array.take([0], i)).all())
        for i, size in enumerate(shape)
    ]
