"""Matrix products of rows with weights; rows that need not be written out for them."""

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


class RawEdges(NamedTuple):
    """Edge features of one block before the first layer, in factored form.

    The features are `features @ weight + offset`; a matrix applied to them is applied to
    `weight` and `offset`, which are shared by all edges of a type.

    Attributes:
      features: `[N, S, T, F]` raw features.
      weight: `[S or 1, T or 1, F, D]`.
      offset: `[S or 1, T or 1, D]`, or None for zero.
    """

    features: Array
    weight: Array
    offset: Array | None

    def __matmul__(self, matrix: Array) -> Array:
        value = contract(self.features, (self.weight @ matrix)[None])
        if self.offset is None:
            return value
        return value + (self.offset @ matrix)[None]

    def times_source(self, nodes: Array, matrix: Array) -> Array | Factored:
        """Return `nodes[:, :, None] * (self @ matrix)` for `nodes` `[N, S, D]`."""
        weight = self.weight @ matrix
        if self.offset is None and weight.shape[1] == 1:
            return Factored(
                self.features, nodes[:, :, None] * weight[:, 0][None]
            )
        return nodes[:, :, None] * (self @ matrix)


Rows = Array | Factored | RawEdges
"""Anything that a matrix can be applied to."""


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


def matmul(x: Rows, weight: Array) -> Array:
    """Return `x @ weight` for rows `x` `[*rows, I]` and `weight` `[I, O]`."""
    return _matmul(x, weight) if isinstance(x, jax.Array) else x @ weight


@jax.custom_vjp
def _matmul(x, weight):
    return x @ weight


def _matmul_fwd(x, weight):
    return x @ weight, (x, weight)


def _matmul_bwd(residuals, cotangent):
    x, weight = residuals
    rows = x.reshape(-1, x.shape[-1])
    cotangent_rows = cotangent.reshape(-1, cotangent.shape[-1])
    d_weight = jax.lax.platform_dependent(
        rows, cotangent_rows, cpu=_by_columns, default=_gram
    )
    return cotangent @ weight.T, d_weight


_matmul.defvjp(_matmul_fwd, _matmul_bwd)


def _gram(x, y):
    return x.T @ y


def _by_columns(x, y):
    # On CPUs, XLA multiplies a tall x.T at half the speed of other shapes; as a batch of
    # half its columns it does not.
    if x.shape[1] % 2:
        return _gram(x, y)
    halves = x.reshape(len(x), 2, -1)
    return jnp.einsum("rhi,ro->hio", halves, y).reshape(x.shape[1], -1)
