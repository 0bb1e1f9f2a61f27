"""Assignment problems on the host: numpy and scipy behind one callback for the batch.

Subtracting any number `v[j]` from column `j` changes all permutations' costs alike. If
then the least entries of the rows lie in different columns, they are the optimum, and
no solver is needed. Good numbers are the column potentials of the dual problem; here
they are guessed,

    v[j] = (mean_i c[i, j] + min_i(c[i, j] - mean_k c[i, k])) / 2,

which is nearly right for inner products of neurons with their permuted copies, if they
differ little in norm and the other layers are aligned. What is left is reduced by row
and column minima, a feasible start that spares scipy up to half of its time.
"""

import functools
import math
import os
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import buffer_callback
from scipy import optimize

from symmerge_jax.typing import Array

CHUNK = 2**16
"""Entries worked on at once, so that temporaries stay in the cache."""


def callbacks(cost: Array, where: Array, maximize: bool) -> dict:
    """Return how to call `solve` from a compiled program, by platform.

    The result is keyword arguments of `jax.lax.platform_dependent`. On CPUs this is a
    callback on XLA's own buffers. `jax.pure_callback` would copy them by a task for the
    threads that run the program, and wait for it in one of these: with one core that
    never ends (jax-ml/jax issues 24255 and 25861). The programs of accelerators do not
    run on those threads.
    """
    perm = jax.ShapeDtypeStruct(cost.shape[:-1], jnp.int32)
    on_host = functools.partial(solve, maximize=maximize)

    def into_buffer(_, perm, cost, where):
        np.asarray(perm)[...] = on_host(cost, where)

    def varying(callback):
        # Adds zero: tells `shard_map` that the result differs where the costs do.
        return lambda c, where: (
            callback(c, where) + (c[..., 0] > jnp.inf).astype(perm.dtype)
        )

    method = "broadcast_all"
    on_cpu = buffer_callback.buffer_callback(into_buffer, perm, vmap_method=method)
    default = functools.partial(jax.pure_callback, on_host, perm, vmap_method=method)
    return {"cpu": varying(on_cpu), "default": varying(default)}


def solve(cost, where, *, maximize: bool) -> np.ndarray:
    """Return the optimal permutations `[*N, n]` by numpy and scipy only, int32.

    Problems that are not wanted (`where`) get the identity; those with an entry that is
    not finite get -1.
    """
    cost, where = np.asarray(cost), np.asarray(where)
    shape, n = cost.shape, cost.shape[-1]
    cost = cost.reshape(math.prod(shape[:-2]), n, n)
    perm = np.empty(cost.shape[:2], np.int32)
    perm[:] = np.arange(n)
    todo, size = np.flatnonzero(where), max(1, CHUNK // n**2)
    dtype = cost.dtype if cost.dtype in (np.float32, np.float64) else np.float64
    chunks = [todo[start : start + size] for start in range(0, len(todo), size)]

    def solve_chunk(index):
        # Rows first: reductions over rows then run along all problems at once. One
        # problem, which may fill the memory, is not copied.
        some = cost[index[0] : index[0] + 1] if len(index) == 1 else cost[index]
        rows = some.swapaxes(0, 1).astype(dtype, order="C", copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            perm[index] = _solve_chunk(rows, maximize)

    if (num_threads := min(len(chunks), _num_cores())) > 1:
        # numpy and scipy let go of the interpreter while they compute.
        with futures.ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(solve_chunk, chunks))
    else:
        for index in chunks:
            solve_chunk(index)
    return perm.reshape(shape[:-1])


def _num_cores():
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _solve_chunk(cost, maximize):
    """Return `[N, n]` permutations of `[n, N, n]` costs in single or double."""
    n, best = len(cost), np.maximum if maximize else np.minimum
    # Not by `@` or `mean`: threads of BLAS would wait for each other, `mean` is slow.
    row_sums, column_sums = np.einsum("inj->in", cost), cost.sum(axis=0)
    size = max(1, CHUNK // cost[0].size)
    centered = (
        cost[start : start + size] - row_sums[start : start + size, :, None] / n
        for start in range(0, n, size)
    )
    extreme = functools.reduce(best, (best.reduce(x, axis=0) for x in centered))
    columns = (column_sums / n + extreme) / 2
    # Any potentials are valid, so theirs may be single precision; what follows not.
    reduced = np.subtract(cost, columns, dtype=np.float64)
    if maximize:
        np.negative(reduced, out=reduced)
    cheapest = reduced.argmin(axis=-1)
    perm = np.ascontiguousarray(cheapest.T)
    hard = ~_is_permutation(perm)
    if not (usable := np.isfinite(columns).all(axis=-1)).all():
        for index in np.flatnonzero(~usable):
            perm[index] = _solve_extreme(cost[:, index], maximize)
        hard &= usable
    if hard.any():
        rest = reduced if hard.all() else reduced[:, hard]
        rest -= np.take_along_axis(rest, cheapest[:, hard, None], axis=-1)
        rest -= rest.min(axis=0)
        perm[hard] = [
            optimize.linear_sum_assignment(rest[:, index])[1]
            for index in range(rest.shape[1])
        ]
    return perm


def _is_permutation(perm):
    """Return `[N]`: which rows of `[N, n]` numbers in `0..n-1` hold each of them."""
    offsets = np.arange(0, perm.size, perm.shape[-1])[:, None]
    counts = np.bincount((perm + offsets).ravel(), minlength=perm.size)
    return (counts.reshape(perm.shape) == 1).all(axis=-1)


def _solve_extreme(cost, maximize):
    """Solve a matrix whose sums overflow, or that has entries that are not finite."""
    if not np.isfinite(cost).all():
        return -1
    scaled = cost.astype(np.float64) / (4 * len(cost))
    return optimize.linear_sum_assignment(scaled, maximize)[1]
