"""The same formula by numpy or by JAX, as the arrays in it are.

Arrays of numpy are computed on by numpy: nothing is compiled, which for a search that
runs once takes much longer than the search. Traced arrays, and those of JAX, are
computed on by JAX.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core


def namespace(*trees: Any) -> Any:
    """Return `numpy` where all arrays are of numpy, `jax.numpy` where any is not.

    Args:
      *trees: of arrays; what is no array does not count. Without any array it is
        `jax.numpy`.
    """
    arrays = [leaf for leaf in jax.tree.leaves(trees) if hasattr(leaf, "dtype")]
    plain = all(isinstance(leaf, np.ndarray | np.generic) for leaf in arrays)
    return np if arrays and plain else jnp


def on_host(*trees: Any) -> bool:
    """Return whether numpy can compute what a CPU would: all values are known there.

    Args:
      *trees: of arrays.
    """
    leaves = jax.tree.leaves(trees)
    traced = any(isinstance(leaf, core.Tracer) for leaf in leaves)
    return not traced and jax.default_backend() == "cpu"


def placed(tree: Any, *, on_host: bool) -> Any:
    """Return a tree with its arrays as those of numpy, or of JAX.

    Args:
      tree: of arrays; random keys, and what is no array, stay.
      on_host: whether numpy is to compute on them.
    """

    def place(leaf):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
            return leaf
        return np.asarray(leaf) if on_host else jnp.asarray(leaf)

    return jax.tree.map(place, tree)


def each(function: Callable[..., Any], *batches: Any) -> Any:
    """Return `jax.vmap(function)(*batches)`; row by row where all is of numpy.

    Args:
      function: of one row of each batch.
      *batches: trees of arrays that share a leading axis.
    """
    if namespace(*batches) is jnp:
        return jax.vmap(function)(*batches)
    results = [
        function(*jax.tree.map(lambda leaf, row=row: leaf[row], batches))
        for row in range(len(jax.tree.leaves(batches)[0]))
    ]
    return jax.tree.map(lambda *leaves: namespace(leaves).stack(leaves), *results)
