"""Solve batches of linear assignment problems, on the host or on the device."""

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax.assignment import _device, _host
from symmerge_jax.typing import Array

METHODS = ("auto", "host", "device")


def solve_lap(
    cost: Array,
    *,
    maximize: bool = False,
    method: str = "auto",
    where: Array | None = None,
) -> Array:
    """Return the permutation of least total cost, for one matrix or a batch.

    Minimises `sum_i cost[i, perm[i]]` over the permutations of `0..n-1`. Works eagerly,
    and under `jax.jit`, `jax.vmap` and `jax.lax.while_loop`.

    Args:
      cost: `[*N, n, n]` finite costs, any real data type.
      maximize: maximise instead: `cost` is a similarity.
      method: "host" (scipy; one callback for the whole batch), "device" (stays in the
        compiled program), or "auto".
      where: `[*N]` problems to solve, default all; the others get the identity.

    Returns:
      `[*N, n]` integers, each row a permutation. A traced problem with a cost that is
      not finite gets -1 everywhere, which no permutation has.

    Raises:
      ValueError: if the matrices are not square, `where` or `method` do not fit, or a
        cost that is not traced is not finite (the matrix is named).
    """
    if cost.ndim < 2 or cost.shape[-1] != cost.shape[-2]:
        raise ValueError(f"Costs must be `[*N, n, n]`, got shape {cost.shape}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got '{method}'.")
    batch = cost.shape[:-2]
    where = np.ones(batch, bool) if where is None else where
    if where.shape != batch:
        raise ValueError(f"where must be {batch}, one per matrix, got {where.shape}.")
    concrete = not any(isinstance(x, jax.core.Tracer) for x in (cost, where))
    if concrete:
        _check_finite(np.asarray(cost), np.asarray(where))
    if method == "device":
        return _device.solve(jnp.asarray(cost), jnp.asarray(where), maximize)
    if concrete:
        return jnp.asarray(_host.solve(cost, where, maximize=maximize))
    return _host.callback(cost, where, maximize)


def _check_finite(cost, where):
    finite = np.isfinite(cost).all(axis=(-2, -1)) | ~where
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"Matrix {index} of the costs has values that are not finite.")
