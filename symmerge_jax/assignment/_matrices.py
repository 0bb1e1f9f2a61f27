"""What every function here asks of its matrices."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax.typing import Array


def as_array(matrix: Any) -> Array:
    """Return arrays as they are, and lists of numbers as arrays of numpy."""
    return matrix if hasattr(matrix, "dtype") else np.asarray(matrix)


def check_square(matrix: Array, name: str) -> None:
    """Refuse what should be `[*N, n, n]` real numbers and is not."""
    if jnp.issubdtype(matrix.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got {matrix.dtype}.")
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"{name} must be square, [*N, n, n], got shape {matrix.shape}."
        )


def as_float(array: Array) -> Array:
    """Return an array of JAX in single precision, or in double if it is and may be."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
