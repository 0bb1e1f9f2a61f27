"""Matrix products of rows with weights; rows that need not be written out for them."""

from typing import NamedTuple

from symmerge_jax.typing import Array


class Factored(NamedTuple):
    """Rows `x[..., s, t, :] = features[..., s, t, :] @ table[..., s, :, :]`.

    What an edge knows before the first layer is a few numbers (its weight) times
    vectors that depend on its source alone. A matrix is then applied to the vectors,
    per node, and not to the rows, per edge.

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

    The features are `features @ weight + offset`; a matrix is applied to
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
            return Factored(self.features, nodes[:, :, None] * weight[:, 0][None])
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
    return x @ weight
