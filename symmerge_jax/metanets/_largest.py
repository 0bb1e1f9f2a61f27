"""Largest entries, with a gradient that never divides by zero."""

import jax
import jax.numpy as jnp

from symmerge_jax.typing import Array


def largest(x: Array, axes: tuple[int, ...], *, keepdims: bool = False) -> Array:
    """Return the largest entries along axes; the gradient goes to one of them.

    `jnp.max` looks for the entries that equal the largest one when it is differentiated
    and divides by their number. A compiler may compute the entries twice, with and
    without rounding in between; then there are none, and the gradient is NaN.

    Args:
      x: any array.
      axes: axes to reduce, counted from the front.
      keepdims: whether they stay, with length 1.
    """
    for axis in sorted(axes, reverse=True):
        where = jnp.argmax(jax.lax.stop_gradient(x), axis=axis, keepdims=True)
        chosen = jax.lax.broadcasted_iota(where.dtype, x.shape, axis) == where
        x = jnp.sum(jnp.where(chosen, x, 0), axis=axis, keepdims=keepdims)
    return x
