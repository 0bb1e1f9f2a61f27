"""Many networks through a function that takes a few at a time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Batch = Any
"""A tree of arrays with the same number of rows `[N, ...]`."""


def map_batches(
    function: Callable[[Batch], Batch], rows: Batch, batch_size: int
) -> Batch:
    """Return `function(rows)`, computed for a few rows at a time to bound memory.

    The last batch is filled up with repetitions of the last row, so that a compiled
    function sees one shape only.

    Args:
      function: from `[batch_size, ...]` to a tree of arrays `[batch_size, ...]`, each
        row computed from the same row of the input.
      rows: arrays `[N, ...]`, of numpy (also views of a file) or on devices.
      batch_size: rows per call, lowered to `N` where there are fewer.

    Returns:
      Numpy arrays `[N, ...]`.

    Raises:
      ValueError: if there are no rows, or `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    num_rows = len(jax.tree.leaves(rows)[0])
    if num_rows == 0:
        raise ValueError("There are zero networks in the batch.")
    size = min(batch_size, num_rows)
    parts = []
    for start in range(0, num_rows, size):
        part = jax.tree.map(lambda x, s=start: _filled(x[s : s + size], size), rows)
        parts.append(jax.tree.map(np.asarray, function(part)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:num_rows], *parts)


def _filled(x: Any, size: int) -> np.ndarray:
    """Return `x` with its last row repeated up to `size` rows."""
    x = np.asarray(x)
    missing = size - x.shape[0]
    return np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
