"""The measure of networks, and of all networks on the straight lines between them.

One for every task: a loss of one network returns a dict of scalars, `loss` and, for
classifiers, `error`, the rate of errors. What a network needs beside its parameters
(data of its own, the target of a repair) is part of the point at which it stands.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from symmerge_jax import merging
from symmerge_jax.typing import Array

LossFn = Callable[[Any, Any], Mapping[str, Array]]
"""`loss_fn(point, data)` of one network, a dict of scalars."""


def batch_size() -> int:
    """Return how many networks are measured at once.

    On a CPU they follow each other: side by side, none would stay in the cache.
    """
    return 1 if jax.default_backend() == "cpu" else 64


def between(
    loss_fn: LossFn, a: Any, b: Any, num_points: int, data: Any
) -> dict[str, np.ndarray]:
    """Measure all networks on the lines between pairs.

    Args:
      loss_fn: the measure. One function is compiled once.
      a: points `[N, ...]` of the first networks: parameters, or a tree that holds them
        beside what else `loss_fn` reads of a network.
      b: those of the second ones, in the frame of the first.
      num_points: points `T` of each line, both ends included.
      data: any tree of arrays, which all networks share.

    Returns:
      By measure the curves `[N, T]`.
    """
    found = merging.loss_barrier(
        a,
        b,
        loss_fn,
        data=data,
        num_points=num_points,
        num_batch_axes=1,
        batch_size=batch_size(),
    )
    return jax.device_get(found.losses)


def alone(loss_fn: LossFn, points: Any, data: Any) -> dict[str, np.ndarray]:
    """Return the measures `[N]` of networks at points `[N, ...]`, as for `between`."""
    return jax.device_get(lifted(loss_fn)(points, data))


@functools.lru_cache(maxsize=16)
def lifted(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the compiled `function(row, data)` of rows `[N, ...]`, as many as fit."""

    def rowwise(rows, data):
        one = functools.partial(_call, function, data)
        return jax.lax.map(one, rows, batch_size=batch_size())

    return jax.jit(rowwise)


def _call(function, data, row):
    return function(row, data)
