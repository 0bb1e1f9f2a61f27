"""Assignment problems inside the compiled program, many of one size side by side.

Shortest augmenting paths (Jonker and Volgenant 1987, Computing 38; Crouse 2016,
section III), arranged for vector units: a step of Dijkstra's search relaxes a whole row
at once, the potentials of the rows are implied by those of the columns, and all rows
whose cheapest columns differ are matched before the first search. Under `vmap` the
problems advance in step, each in its own search. `O(n^3)` per problem.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax.assignment import _matrices
from symmerge_jax.typing import Array


def solve(cost: Array, where: Array, *, maximize: bool) -> Array:
    """Return the optimal permutations `[*N, n]`, to rounding in the type of the costs.

    At least single precision is used. Problems that are not wanted (`where`) get the
    identity; those with an entry that is not finite get -1.
    """
    shape, n = cost.shape, cost.shape[-1]
    cost = _matrices.as_float(cost).reshape(math.prod(shape[:-2]), n, n)
    dtype = cost.dtype
    where = jnp.asarray(where).reshape(-1)
    largest = jnp.abs(cost).max(axis=(-2, -1))
    usable = where & jnp.isfinite(largest)
    # Sums along paths must not overflow.
    bound = jnp.finfo(dtype).max / (8 * n)
    factor = jnp.where(largest > bound, bound / largest, 1)
    cost = cost * (-factor if maximize else factor)[:, None, None]
    # The others are replaced by a matrix that needs no search: they cost no steps.
    cost = jnp.where(usable[:, None, None], cost, -jnp.eye(n, dtype=dtype)[None])
    perm = _solve_compiled(cost)
    return jnp.where((usable | ~where)[:, None], perm, -1).reshape(shape[:-1])


class _Search(NamedTuple):
    """Where the search from one free row stands; -1 means not matched.

    `potentials` are dual values of the columns. The search started at row `source` (n
    when no row is left free), relaxes `row` next, at distance `low` from the source,
    and has reached columns at `distance`, over row `previous`; `scanned` distances are
    final.
    """

    potentials: Array
    column_of: Array
    row_of: Array
    source: Array
    row: Array
    low: Array
    distance: Array
    previous: Array
    scanned: Array


def _solve_one(cost):
    """Return the `[n]` permutation of `[n, n]` moderate costs."""
    numbers = jnp.arange(len(cost), dtype=jnp.int32)

    def step(s: _Search) -> _Search:
        slack = cost[s.row] - s.potentials
        own = s.column_of[s.row]
        reach = s.low + slack - jnp.where(own < 0, 0, slack[own])
        shorter = ~s.scanned & (reach < s.distance)
        distance = jnp.where(shorter, reach, s.distance)
        previous = jnp.where(shorter, s.row, s.previous)
        nearest = jnp.argmin(jnp.where(s.scanned, jnp.inf, distance)).astype(jnp.int32)
        low = distance[nearest]
        scanned = s.scanned | (numbers == nearest)
        found = s.row_of[nearest] < 0
        column_of, row_of = _augment(
            s.column_of, s.row_of, previous, jnp.where(found, nearest, -1), s.source
        )
        source = jnp.where(found, _first_free(column_of), s.source)
        return _Search(
            jnp.where(found & scanned, s.potentials + distance - low, s.potentials),
            column_of,
            row_of,
            source,
            jnp.where(found, source, s.row_of[nearest]),
            jnp.where(found, 0, low),
            jnp.where(found, jnp.inf, distance),
            previous,
            scanned & ~found,
        )

    potentials, column_of, row_of = _initial_matching(cost)
    source = _first_free(column_of)
    # Made from the costs, that `shard_map` may see over which axes the state varies.
    zeros = potentials * 0
    start = _Search(
        potentials,
        column_of,
        row_of,
        source=source,
        row=source,
        low=zeros[0],
        distance=zeros + jnp.inf,
        previous=column_of * 0,
        scanned=zeros > 0,
    )
    return jax.lax.while_loop(lambda s: s.source < len(cost), step, start).column_of


# Compiled here, or eager calls would compile the loop every time.
_solve_compiled = jax.jit(jax.vmap(_solve_one))


def _initial_matching(cost):
    """Guess column potentials as on the host; match rows to their cheapest column."""
    numbers = jnp.arange(len(cost), dtype=jnp.int32)
    centered = cost - cost.mean(axis=1)[:, None]
    potentials = (cost.mean(axis=0) + centered.min(axis=0)) / 2
    cheapest = jnp.argmin(cost - potentials[None], axis=1).astype(jnp.int32)
    wanted = cheapest[:, None] == numbers[None]
    # Of the rows that want one column, the first gets it.
    row_of = jnp.where(wanted.any(axis=0), wanted.argmax(axis=0).astype(jnp.int32), -1)
    column_of = jnp.where(row_of[cheapest] == numbers, cheapest, -1)
    return potentials, column_of, row_of


def _augment(column_of, row_of, previous, column, source):
    """Match along the path that ends in `column`, back to `source`; none if -1."""
    numbers = jnp.arange(len(row_of), dtype=jnp.int32)

    def step(state):
        column, column_of, row_of = state
        row = previous[column]
        following = jnp.where(row == source, -1, column_of[row])
        return (
            following,
            jnp.where(numbers == row, column, column_of),
            jnp.where(numbers == column, row, row_of),
        )

    state = column, column_of, row_of
    return jax.lax.while_loop(lambda state: state[0] >= 0, step, state)[1:]


def _first_free(column_of):
    """Return the first row without a column, or their number."""
    free = column_of < 0
    first = jnp.argmax(free).astype(jnp.int32)
    return jnp.where(free.any(), first, len(column_of)).astype(jnp.int32)
