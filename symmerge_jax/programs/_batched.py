"""Programs for networks with leading axes, and the precision that they run in."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax.programs import _namespace


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


def call(
    program: Callable[..., Any], params: Any, *arguments: Any, on_host: bool = False
) -> Any:
    """Return what a compiled program returns, run in the precision of some parameters.

    Args:
      program: the program.
      params: if any of them is float64, that type is switched on for the call where JAX
        has it switched off, and the results are arrays of numpy.
      *arguments: of the program.
      on_host: on CPUs, run it uncompiled on arrays of numpy if the values of all are
        known; for functions that numpy computes from these (`namespace`).
    """
    wide = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(params))
    wide = wide and not jax.config.jax_enable_x64  # pyright: ignore
    on_host = on_host and _namespace.on_host(arguments)
    if on_host:
        program = _uncompiled(program)
        arguments = _namespace.placed(arguments, on_host=True)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        results = program(*arguments)
    if wide:
        return jax.tree.map(np.asarray, results)
    if not on_host:
        return results
    leaves, tree = jax.tree.flatten(results)
    del results  # so that only one array at a time is there twice
    for number, leaf in enumerate(leaves):
        leaves[number] = jnp.asarray(leaf)
    return jax.tree.unflatten(tree, leaves)


def _uncompiled(program: Any) -> Callable[..., Any]:
    def quiet(*arguments):
        with np.errstate(all="ignore"):  # as JAX
            return program.__wrapped__(*arguments)

    return quiet
