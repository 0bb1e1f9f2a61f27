"""Dropout of features."""

import jax
import jax.numpy as jnp

from symmerge_jax.typing import Array, Key


def drop(key: Key, nodes: tuple[Array, ...], rate: float) -> tuple[Array, ...]:
    """Drop features of all arrays with probability `rate`, scale the others up.

    Args:
      key: random key.
      nodes: arrays of features, as `[N, n, D]` per space.
      rate: in [0, 1).
    """
    keys = jax.random.split(key, len(nodes))
    return tuple(
        jnp.where(jax.random.bernoulli(k, 1 - rate, x.shape), x / (1 - rate), 0)
        for k, x in zip(keys, nodes, strict=True)
    )
