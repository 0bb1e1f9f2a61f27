"""Solve batches of linear assignment problems, on the host or on the device.

The host runs scipy (shortest augmenting paths, Crouse 2016) behind one callback for the
whole batch; the device solver is the same algorithm written for `vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Int32

from symmerge_jax import programs
from symmerge_jax.assignment import _device, _host, _matrices
from symmerge_jax.typing import Array

METHODS = ("auto", "host", "device")

MAX_DEVICE_SIZE = 128
"""Largest `n` that "auto" solves in the compiled program of an accelerator."""


def solve_lap(
    cost: Array,
    *,
    maximize: bool = False,
    method: str = "auto",
    where: Array | None = None,
) -> Int32[Array, "*N n"]:
    """Return the permutation of least total cost, for one matrix or a batch.

    Minimises `sum_i cost[i, perm[i]]` over all permutations, exactly. Works eagerly and
    under `jax.jit`, `jax.vmap`, `jax.lax.while_loop` and `jax.grad` (a permutation has
    no gradient). Among equally good permutations any one is returned, the same one for
    the same input and method.

    Methods. "host" is scipy in double precision, with column potentials that make most
    problems of weight matching trivial. "device" stays in the program and rounds as the
    data type of the costs does: the optimum to rounding. "auto" is "host" on CPUs:
    there it is faster for all but the smallest matrices (`python launch/benchmark.py
    assignment` prints the table). On accelerators it is "device" up to `n = 128`, as
    copying the costs to the host would stall the program in each step of a loop, and
    "host" above. Eager calls are solved on the host unless "device" is asked for.

    Args:
      cost: `[*N, n, n]` finite costs, any real data type; an array or a list.
      maximize: maximise instead: `cost` is a similarity.
      method: "auto", "host" or "device".
      where: `[*N]` booleans, problems to solve; default all. The others are skipped,
        whatever their costs, and get the identity.

    Returns:
      `[*N, n]` int32, each row a permutation; an array of numpy where the costs are.
      A *traced* problem that has a cost that is not finite gets -1 everywhere, which is
      not a permutation: errors cannot leave a compiled program. `optimality_gap` of it
      is NaN.

    Raises:
      TypeError: complex costs, or `where` that is not boolean.
      ValueError: matrices that are not square, `where` of another shape, an unknown
        method, or, eagerly, a cost that is not finite (the matrix is named).

    Example:
      >>> import numpy as np
      >>> solve_lap(np.array([[4.0, 1.0], [2.0, 3.0]])).tolist()
      [1, 0]

    References:
      Crouse 2016, On implementing 2D rectangular assignment algorithms, IEEE
      Transactions on Aerospace and Electronic Systems 52(4), algorithm of section III.
    """
    cost = _matrices.as_array(cost)
    _matrices.check_square(cost, "cost")
    batch, n = cost.shape[:-2], cost.shape[-1]
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}.")
    if where is None:
        where = np.ones(batch, bool)
    where = _matrices.as_array(where)
    if where.dtype != bool:
        raise TypeError(f"where must be boolean, got {where.dtype}.")
    if where.shape != batch:
        raise ValueError(f"where must be {batch}, one per matrix, got {where.shape}.")
    if not all(cost.shape):
        return jnp.zeros(cost.shape[:-1], jnp.int32)
    if isinstance(cost, core.Tracer) or isinstance(where, core.Tracer):
        cost = jax.lax.stop_gradient(cost)
        return _traced(jnp.asarray(cost), jnp.asarray(where), maximize, method)
    solve = _device.solve if method == "device" else _host.solve
    perm = np.asarray(solve(cost, where, maximize=maximize))
    if len(bad := np.argwhere(perm[..., 0] < 0)):
        index = f"[{', '.join(map(str, bad[0]))}]" if batch else ""
        raise ValueError(
            f"Matrix cost{index} of shape ({n}, {n}) has an entry that is not finite."
        )
    return programs.namespace(cost).asarray(perm)


def _traced(cost, where, maximize, method):
    on_host = _host.callbacks(cost, where, maximize)
    on_device = jax.tree_util.Partial(_device.solve, maximize=maximize)
    if method == "device":
        return on_device(cost, where)
    if method == "auto" and cost.shape[-1] <= MAX_DEVICE_SIZE:
        on_host["default"] = on_device
    return jax.lax.platform_dependent(cost, where, **on_host)
