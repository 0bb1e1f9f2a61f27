"""Assignment problems inside the compiled program."""

import math

import jax
import jax.numpy as jnp
import optax

from symmerge_jax.typing import Array


def solve(cost: Array, where: Array, maximize: bool) -> Array:
    """Return `[*N, n]` permutations of `[*N, n, n]` costs, in JAX."""
    shape, n = cost.shape[:-1], cost.shape[-1]
    flat = cost.reshape(math.prod(cost.shape[:-2]), n, n)
    finite = jnp.isfinite(flat).all((-2, -1))
    usable = finite & where.reshape(-1)
    flat = jnp.where(usable[:, None, None], -flat if maximize else flat, 0)
    rows, columns = jax.vmap(optax.assignment.hungarian_algorithm)(flat)
    perm = jax.vmap(lambda i, j: jnp.zeros(n, jnp.int32).at[i].set(j))(rows, columns)
    perm = jnp.where(finite[:, None], perm, -1)
    identity = jnp.arange(n, dtype=jnp.int32)[None]
    return jnp.where(where.reshape(-1)[:, None], perm, identity).reshape(shape)
