"""Weighted means of networks in a common frame."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params


def average(params_batch: Params, weights: Array) -> Params:
    """Return the weighted mean of networks, weight by weight, in their data types.

    Args:
      params_batch: parameters with a leading axis `[N]`, in a common frame.
      weights: `[N]`, which sum to 1; sums are at least float32.
    """

    def mean(leaf: Array) -> Array:
        dtype = symmetry.computing_dtype(leaf)
        total = jnp.tensordot(
            jnp.asarray(weights, dtype), leaf.astype(dtype), 1, precision="highest"
        )
        return total.astype(leaf.dtype)

    return jax.tree.map(mean, params_batch)


def check_weights(weights: Sequence[float] | Array | None, num_networks: int) -> Array:
    """Return the weights of a mean, `[num_networks]`, float64, or refuse them.

    Args:
      weights: one number per network, above zero, sum 1 to 1e-6; None for equal ones.
      num_networks: number of networks.
    """
    if weights is None:
        return np.full(num_networks, 1 / num_networks)
    traced = isinstance(weights, core.Tracer)  # values are not known: shapes only
    try:
        array = weights if traced else np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Weights must be one number per network, got {weights!r}."
        ) from error
    if array.shape != (num_networks,):
        raise ValueError(
            f"Got {array.size} weights of shape {array.shape} for {num_networks}"
            " networks: give one number per network."
        )
    if traced:
        return array
    if not np.isfinite(array).all() or (array <= 0).any():
        raise ValueError(
            f"Weights must be finite and above zero, got {array.tolist()}: omit a"
            " network that is not to count."
        )
    if abs(array.sum() - 1) > 1e-6:
        raise ValueError(
            f"Weights must sum to 1, got {array.tolist()} with sum {array.sum():.8g}:"
            " divide them by their sum."
        )
    return array
