"""Proofs that an assignment is optimal: potentials of the dual problem.

Any `u`, `v` with `u[i] + v[j] <= cost[i, j]` everywhere bound the cost of every
permutation from below by `sum(u) + sum(v)`. A permutation that attains the bound is
optimal, whoever found it. For a given permutation the best potentials are lengths of
shortest paths, found by sweeps of Bellman and Ford (Ahuja, Magnanti and Orlin 1993,
Network Flows, sections 5.4 and 12.4).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Float

from symmerge_jax.assignment import _matrices
from symmerge_jax.typing import Array


class Duals(NamedTuple):
    """Feasible potentials: `rows[i] + columns[j] <= cost[i, j]` (>= if maximised).

    Attributes:
      rows: `[*N, n]` potentials of the rows, in units of the costs.
      columns: `[*N, n]` potentials of the columns.
    """

    rows: Float[Array, "*N n"]
    columns: Float[Array, "*N n"]


def dual_potentials(cost: Array, perm: Array, *, maximize: bool = False) -> Duals:
    """Return feasible potentials that prove an assignment optimal, if it is.

    Law: feasible for every `perm`; tight, `rows[i] + columns[perm[i]] = cost[i,
    perm[i]]` to rounding, if and only if `perm` is optimal. For other permutations
    they are the best met in `n` sweeps. Gradients stop here. `O(n^2)` per sweep and at
    most `n` sweeps, mostly a few.

    Args:
      cost: `[*N, n, n]` finite costs.
      perm: `[*N, n]` permutations, as `solve_lap` returns.
      maximize: `cost` is a similarity and was maximised.

    Returns:
      The potentials; NaN for traced problems whose `perm` is not a permutation (as
      `solve_lap` returns for costs that are not finite) or whose costs are not finite.

    Raises:
      TypeError, ValueError: types or shapes that do not fit, and eagerly what gives
        NaN.
    """
    cost, columns, _ = _certify(cost, perm, maximize)
    rows = (cost - columns[..., None, :]).min(axis=-1, initial=jnp.inf)
    return Duals(-rows, -columns) if maximize else Duals(rows, columns)


def optimality_gap(
    cost: Array, perm: Array, *, maximize: bool = False
) -> Float[Array, "*N"]:
    """Return how far assignments `[*N]` may be from optimal: primal minus dual value.

    No permutation is better than `perm` by more than the gap, which is never negative.
    It is zero if and only if `perm` is optimal, to rounding: gaps up to `n * eps *
    max|cost|`, with the `eps` of the data type, mean nothing. The proof needs no
    solver: any potentials of `dual_potentials` give it.

    Args:
      cost: see `dual_potentials`.
      perm: see `dual_potentials`.
      maximize: see `dual_potentials`.

    Example:
      >>> import numpy as np
      >>> cost = np.array([[4.0, 1.0], [2.0, 3.0]], np.float32)
      >>> optimality_gap(cost, np.array([1, 0])).item()
      0.0
      >>> optimality_gap(cost, np.array([0, 1])).item()  # the other costs 4 less
      4.0
    """
    return _certify(cost, perm, maximize)[2]


def _certify(cost, perm, maximize):
    """Return costs to be minimised, `[*N, n]` column potentials, `[*N]` gaps."""
    cost, perm = _matrices.as_array(cost), _matrices.as_array(perm)
    _matrices.check_square(cost, "cost")
    shape, n = cost.shape, cost.shape[-1]
    if not jnp.issubdtype(perm.dtype, jnp.integer):
        raise TypeError(f"perm must be of integers, got {perm.dtype}.")
    if perm.shape != shape[:-1]:
        raise ValueError(f"perm must be {shape[:-1]}, got shape {perm.shape}.")
    eager = not any(isinstance(x, core.Tracer) for x in (cost, perm))
    cost = jax.lax.stop_gradient(_matrices.as_float(cost))
    perm = jnp.asarray(perm)
    valid = (jnp.sort(perm, axis=-1) == _numbers(perm)).all(axis=-1)
    valid &= jnp.isfinite(cost).all(axis=(-2, -1))
    if eager and not (allowed := np.asarray(valid)).all():
        index = tuple(map(int, np.argwhere(~allowed)[0]))
        raise ValueError(
            f"Problem {index} has a cost that is not finite, or a perm that is no"
            f" permutation of 0..{n - 1}."
        )
    if not all(shape):
        zeros = functools.partial(jnp.zeros, dtype=cost.dtype)
        return cost, zeros(shape[:-1]), zeros(shape[:-2])
    cost = -cost if maximize else cost
    flat = cost.reshape(math.prod(shape[:-2]), n, n)
    flat_perm = jnp.where(valid[..., None], perm, _numbers(perm)).reshape(-1, n)
    columns, gap = _sweeps_compiled(flat, flat_perm)
    columns, gap = columns.reshape(shape[:-1]), gap.reshape(shape[:-2])
    return (
        cost,
        jnp.where(valid[..., None], columns, jnp.nan),
        jnp.where(valid, gap, jnp.nan),
    )


def _numbers(perm):
    return jnp.broadcast_to(jnp.arange(perm.shape[-1], dtype=perm.dtype), perm.shape)


class _State(NamedTuple):
    """Potentials of one sweep, and the best so far with the gap that they prove."""

    potentials: Array
    best: Array
    gap: Array
    num_sweeps: Array


def _sweeps(cost, perm):
    """Return `[n]` column potentials and `[]` the gap, for one `[n, n]` problem.

    Feasible and tight means `v[j] <= v[perm[i]] + length[i, j]`, that is, `v` is a set
    of shortest distances in the graph of columns with an edge from `perm[i]` to `j`. It
    has a negative cycle, and no distances, if and only if `perm` is not optimal.
    """
    n = len(cost)
    length = cost - jnp.take_along_axis(cost, perm[:, None], axis=1)
    rounding = n * jnp.finfo(cost.dtype).eps * jnp.abs(cost).max()

    def step(state: _State) -> _State:
        reach = state.potentials[perm][:, None] + length
        gap = (state.potentials[None] - reach).max(axis=1).sum()
        better = gap < state.gap
        return _State(
            reach.min(axis=0),
            jnp.where(better, state.potentials, state.best),
            jnp.where(better, gap, state.gap),
            state.num_sweeps + 1,
        )

    start = cost.mean(axis=0)
    state = _State(start, start, start[0] * 0 + jnp.inf, perm[0] * 0)
    state = jax.lax.while_loop(
        lambda s: (s.gap > rounding / 4) & (s.num_sweeps <= n), step, state
    )
    return state.best, state.gap


# Compiled here, or eager calls would compile the loop every time.
_sweeps_compiled = jax.jit(jax.vmap(_sweeps))
