"""Many networks through a function that takes a few at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from symmerge_jax.networks import _network
from symmerge_jax.typing import Array, Params

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


def render(
    network: _network.Network, params_batch: Params, coordinates: Array
) -> Array:
    """Return the outputs `[N, S, O]` of a batch of networks on the same coordinates.

    Args:
      network: their architecture.
      params_batch: parameters with one leading axis `[N]`.
      coordinates: `[S, I]`, for images the grid of `coordinate_grid`.

    Returns:
      Outputs, for INRs pixel values, nominally in [0, 1] and not clipped.
    """
    apply: Callable[..., Array] = jax.vmap(network.apply, in_axes=(0, None))
    return apply(params_batch, coordinates)


def population_logits(
    network: _network.Network,
    params_batch: Params,
    inputs: Array,
    *,
    num_networks: int | None = None,
    chunk_size: int = 500,
) -> Array:
    """Return the logits of many classifiers on the same inputs.

    Inputs are taken in chunks whose values are computed again in the backward pass, so
    that memory does not grow with their number.

    Args:
      network: architecture of the classifiers.
      params_batch: `[N, ...]`.
      inputs: `[S, *input_shape]`.
      num_networks: networks side by side; None for one after the other on a CPU, where
        each then stays in the cache, and for all of them elsewhere.
      chunk_size: inputs at a time.

    Returns:
      `[N, S, C]`.
    """
    total = len(jax.tree.leaves(params_batch)[0])
    if num_networks is None:
        num_networks = 1 if jax.default_backend() == "cpu" else total
    size = min(chunk_size, len(inputs))
    whole = len(inputs) // size * size
    chunks = inputs[:whole].reshape(-1, size, *inputs.shape[1:])
    apply = jax.checkpoint(network.apply)

    def one(params):
        logits = lax.map(lambda chunk: apply(params, chunk), chunks)
        logits = logits.reshape(whole, -1)
        if whole == len(inputs):
            return logits
        return jnp.concatenate([logits, apply(params, inputs[whole:])])

    if num_networks == 1:
        return lax.map(one, params_batch)
    return lax.map(one, params_batch, batch_size=min(num_networks, total))


def _filled(x: Any, size: int) -> np.ndarray:
    """Return `x` with its last row repeated up to `size` rows."""
    x = np.asarray(x)
    missing = size - x.shape[0]
    return np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
