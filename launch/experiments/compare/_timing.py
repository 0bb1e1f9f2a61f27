"""Seconds that functions take, without those of their compilation."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax

from symmerge_jax import networks, symmetry


def timed(function: Callable[[Any], Any], rows: Any, size: int) -> tuple[Any, float]:
    """Return `function` of all rows, some at a time, and seconds without compiling."""
    function(jax.tree.map(lambda x: x[:size], rows))
    start = time.perf_counter()
    found = networks.map_batches(function, rows, size)
    return found, time.perf_counter() - start


class Program:
    """A function of what all rows share, and of rows; compiled for each shape once."""

    def __init__(self, function: Callable[..., Any]):
        self._function = jax.jit(function)
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def run(self, shared: tuple, rows: tuple, size: int) -> tuple[Any, float]:
        """Return the function of all rows, and the seconds without compiling."""
        size = min(size, symmetry.num_rows(rows))
        shared = jax.device_put(shared)
        arguments = (*shared, *jax.tree.map(lambda x: x[:size], rows))
        leaves, structure = jax.tree.flatten(arguments)
        kind = (structure, *((x.shape, x.dtype) for x in leaves))
        if kind not in self._compiled:
            self._compiled[kind] = self._function.lower(*arguments).compile()
        program = functools.partial(self._compiled[kind], *shared)
        start = time.perf_counter()
        found = networks.map_batches(lambda some: program(*some), rows, size)
        return found, time.perf_counter() - start
