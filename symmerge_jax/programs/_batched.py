"""Programs for networks with leading axes, and the precision that they run in."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def batched(
    function: Callable[..., Any], num_batch_axes: int, in_axes: Any = 0
) -> Callable[..., Any]:
    """Return a function compiled for arguments with leading axes.

    Args:
      function: a pure function of JAX, for one network.
      num_batch_axes: number of leading axes.
      in_axes: as for `jax.vmap`.
    """
    for _ in range(num_batch_axes):
        function = jax.vmap(function, in_axes)
    return jax.jit(function)


def call(program: Callable[..., Any], params: Any, *arguments: Any) -> Any:
    """Return what a compiled program returns, run in the precision of some parameters.

    Args:
      program: the program.
      params: if any of them is float64, that type is switched on for the call where JAX
        has it switched off, and the results are arrays of numpy.
      *arguments: of the program.
    """
    double = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(params))
    if not double or jax.config.jax_enable_x64:  # pyright: ignore
        return program(*arguments)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, program(*arguments))
