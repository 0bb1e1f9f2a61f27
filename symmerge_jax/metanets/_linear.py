"""Matrix products of rows with weights, in the shapes that metanets need.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax.typing import Array


class Factored(NamedTuple):
    """Rows `x[..., s, t, :] = features[..., s, t, :] @ table[..., s, :, :]`.

    What an edge knows before the first layer is a few numbers (its weight) times
    vectors that depend on its source alone. A matrix is then applied to the vectors, per
    node, and not to the rows, per edge.

    Attributes:
      features: `[N, S, T, F]`.
      table: `[N, S, F, D]`.
    """

    features: Array
    table: Array

    def __matmul__(self, weight: Array) -> Array:
        return contract(self.features, matmul(self.table, weight)[:, :, None])


def dense(x: Array | Factored) -> Array:
    """Return the rows of `x` as one array."""
    return contract(x.features, x.table[:, :, None]) if isinstance(x, Factored) else x


def contract(features: Array, table: Array) -> Array:
    """Return `sum_f features[..., f] * table[..., f, :]`.

    Args:
      features: `[N, S, T, F]`, `F` small.
      table: `[N or 1, S or 1, T or 1, F, D]`.

    Returns:
      `[N, S, T, D]`.
    """
    # A sum of few products fuses with whatever reads it; a matrix product does not.
    terms = [
        features[..., f, None] * table[..., f, :] for f in range(features.shape[-1])
    ]
    return sum(terms[1:], start=terms[0])


def matmul(x: Array | Factored, weight: Array) -> Array:
    """Return `x @ weight` for rows `x` `[*rows, I]` and `weight` `[I, O]`."""
    return _matmul(x, weight) if isinstance(x, jax.Array) else x @ weight


def matmuls(
    x: Array | Factored, first: Array | None, second: Array
) -> tuple[Array | None, Array]:
    """Return `x @ first` and `x @ second` by one product; None for None."""
    if first is None:
        return None, matmul(x, second)
    size = first.shape[-1]
    both = matmul(x, jnp.concatenate([first, second], axis=-1))
    return both[..., :size], both[..., size:]


@jax.custom_vjp
def _matmul(x, weight):
    return x @ weight


def _matmul_fwd(x, weight):
    return x @ weight, (x, weight)


def _matmul_bwd(residuals, cotangent):
    x, weight = residuals
    rows = x.reshape(-1, x.shape[-1])
    cotangent_rows = cotangent.reshape(-1, cotangent.shape[-1])
    d_weight = jax.lax.optimization_barrier(rows.T) @ cotangent_rows
    return cotangent @ weight.T, d_weight


_matmul.defvjp(_matmul_fwd, _matmul_bwd)
