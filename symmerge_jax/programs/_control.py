"""Loops and branches of a program: compiled by JAX, or run by Python as they come.

An algorithm that is written for either can be compiled as a whole, and can also work on
arrays that are read from disk while it runs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax.programs._namespace import namespace


class Control(NamedTuple):
    """The control flow of `jax.lax`, or what does the same with known values."""

    while_loop: Callable[..., Any]
    cond: Callable[..., Any]
    switch: Callable[..., Any]
    scan: Callable[..., Any]


def _while_loop(unfinished, step, state):
    while unfinished(state):
        state = step(state)
    return state


def _cond(where, yes, no, *operands):
    return (yes if where else no)(*operands)


def _switch(index, branches, *operands):
    return branches[int(index)](*operands)


def _scan(step, carry, inputs):
    outputs = []
    for number in range(len(jax.tree.leaves(inputs)[0])):
        one = jax.tree.map(lambda x, number=number: x[number], inputs)
        carry, output = step(carry, one)
        outputs.append(output)
    numbers = namespace(outputs)
    return carry, jax.tree.map(lambda *leaves: numbers.stack(leaves), *outputs)


_COMPILED = Control(jax.lax.while_loop, jax.lax.cond, jax.lax.switch, jax.lax.scan)
_EAGER = Control(_while_loop, _cond, _switch, _scan)


def control(numbers: Any) -> Control:
    """Return JAX's own control flow for compiled programs, Python's for numpy.

    Args:
      numbers: `numpy` or `jax.numpy`.
    """
    return _EAGER if numbers is np else _COMPILED
