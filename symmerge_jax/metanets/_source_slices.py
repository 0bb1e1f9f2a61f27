"""Large blocks of edges, one or a few sources at a time.

The features of 100,000 edges are 50 MB per tensor, far more than a cache holds, and a
step makes a dozen such tensors. Taken in slices of the sources, all but the first and
the last of them stay in the cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array

LARGE = 2**21
"""Numbers per network and tensor from which a block is large."""


def slice_limit() -> int:
    """Return how many numbers per tensor a slice of several sources has at most.

    A CPU is fastest on one source at a time, whose edges are the rows of one matrix.
    """
    return 0 if jax.default_backend() == "cpu" else 2**20


def sum_over_sources(
    function: Callable[..., Array], edges: Array | _affine.RawEdges, values: Array
) -> Array:
    """Return `function(edges, values)`, which sums over the sources.

    From edges `[N, S, T, D]` and values `[N, S, D]`, of all or some of the sources, to
    sums `[N, T, D]` over these.
    """
    if (size := _slice_size(edges, values)) is None:
        return function(edges, values)
    count, rest = divmod(values.shape[1], size)

    def add(total, start):
        return total + function(*_take(edges, values, start, size)), None

    first = function(*_take(edges, values, 0, size))
    total, _ = lax.scan(add, first, size * jnp.arange(1, count))
    if rest:
        total = total + function(*_take(edges, values, count * size, rest))
    return total


def map_sources(
    function: Callable[..., Array], edges: Array | _affine.RawEdges, values: Array
) -> Array:
    """Return `function(edges, values)`, which treats every source by itself.

    From edges `[N, S, T, D]` and values `[N, S, D]`, of all or some of the sources, to
    edges `[N, S, T, D]`.
    """
    if (size := _slice_size(edges, values)) is None:
        return function(edges, values)
    count, rest = divmod(values.shape[1], size)
    starts = size * jnp.arange(count)
    parts = lax.map(lambda start: function(*_take(edges, values, start, size)), starts)
    parts = jnp.moveaxis(parts, 0, 1)
    new = parts.reshape(len(parts), count * size, *parts.shape[3:])
    if rest:
        last = function(*_take(edges, values, count * size, rest))
        new = jnp.concatenate([new, last], axis=1)
    return new


def _slice_size(edges: Array | _affine.RawEdges, values: Array) -> int | None:
    """Return the number of sources at a time; None for all of them."""
    is_raw = isinstance(edges, _affine.RawEdges)
    num_targets = (edges.features if is_raw else edges).shape[2]
    num_networks, num_sources, width = values.shape
    row = num_targets * width
    if num_sources * row <= LARGE:
        return None
    at_most = max(1, slice_limit() // (num_networks * row))
    # Slices of nearly the same size leave the smallest rest.
    return num_sources // -(-num_sources // at_most)


def _take(edges: Any, values: Array, start: Any, size: int) -> tuple[Any, Array]:
    """Return the edges and values of `size` sources from `start` on."""

    def slice_axis(x: Array, axis: int) -> Array:
        if x.shape[axis] == 1 and values.shape[1] > 1:
            return x  # shared by all sources
        return lax.dynamic_slice_in_dim(x, start, size, axis)

    taken = slice_axis(values, 1)
    if isinstance(edges, _affine.RawEdges):
        offset = edges.offset
        return (
            _affine.RawEdges(
                slice_axis(edges.features, 1),
                slice_axis(edges.weight, 0),
                None if offset is None else slice_axis(offset, 0),
            ),
            taken,
        )
    return slice_axis(edges, 1), taken
