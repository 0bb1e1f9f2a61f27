"""Affine maps and normalisations of rows of features, and rows in factored form.

`x @ weight` is always written `matmul(x, weight)`: `x` may be an array, or anything
that a matrix can be applied to without writing its rows out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from symmerge_jax.typing import Array, Key, Params


def init_linear(
    key: Key, shape: tuple[int, ...], fan_in: int, dtype: jnp.dtype = jnp.float32
) -> Array:
    """Return weights or biases from `U(+-1/sqrt(fan_in))`, as PyTorch does."""
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def init_affine(key: Key, size: int, output_size: int) -> Params:
    """Return `w` `[size, output_size]` and `b` from `U(+-1/sqrt(size))`, as PyTorch."""
    keys = jax.random.split(key)
    return {
        "w": init_linear(keys[0], (size, output_size), size),
        "b": init_linear(keys[1], (output_size,), size),
    }


def init_xavier(key: Key, size: int, output_size: int) -> Params:
    """Return `w` from `U(+-sqrt(6 / (size + output_size)))` and `b` of zeros."""
    draw = jax.nn.initializers.glorot_uniform()
    return {
        "w": draw(key, (size, output_size), jnp.float32),
        "b": jnp.zeros((output_size,), jnp.float32),
    }


def affine(params: Params, x: Array) -> Array:
    """Return `x @ w + b`, `[*rows, I]` to `[*rows, O]`."""
    return add(matmul(x, params["w"]), params["b"])


def compose(first: Params, second: Params) -> Params:
    """Return the affine map that does `first`, then `second`."""
    return {
        "w": first["w"] @ second["w"],
        "b": first["b"] @ second["w"] + second["b"],
    }


def add(x: Float[Array, "*rows D"], bias: Float[Array, " D"]) -> Array:
    """Return `x + bias`."""
    return x + row(bias, x)


def row(vector: Float[Array, " D"], like: Float[Array, "*rows D"]) -> Array:
    """Return a vector with as many axes as the rows that it is combined with."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def init_norm(size: int) -> Params:
    """Return `gain` of ones and `shift` of zeros, `[size]` each."""
    return {
        "gain": jnp.ones((size,), jnp.float32),
        "shift": jnp.zeros((size,), jnp.float32),
    }


def rescale(params: Params, x: Float[Array, "*rows D"]) -> Array:
    """Return `x * gain + shift`."""
    return x * row(params["gain"], x) + row(params["shift"], x)


def layer_norm(params: Params, x: Float[Array, "*rows D"]) -> Array:
    """Return rows with mean 0 and variance 1, times gain, plus shift."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return rescale(params, centred * jax.lax.rsqrt(variance + 1e-5))


def drop(key: Key, nodes: tuple[Array, ...], rate: float) -> tuple[Array, ...]:
    """Drop features with probability `rate` in [0, 1), and scale the others up."""
    keys = jax.random.split(key, len(nodes))
    return tuple(
        jnp.where(jax.random.bernoulli(k, 1 - rate, x.shape), x / (1 - rate), 0)
        for k, x in zip(keys, nodes, strict=True)
    )


def largest(x: Array, axes: tuple[int, ...], *, keepdims: bool = False) -> Array:
    """Return the largest entries along axes; the gradient goes to one of them.

    `jnp.max` looks for the entries that equal the largest one when it is differentiated
    and divides by their number. A compiler may compute the entries twice, with and
    without rounding in between; then there are none, and the gradient is NaN.
    """
    for axis in sorted(axes, reverse=True):
        where = jnp.argmax(jax.lax.stop_gradient(x), axis=axis, keepdims=True)
        chosen = jax.lax.broadcasted_iota(where.dtype, x.shape, axis) == where
        x = jnp.sum(jnp.where(chosen, x, 0), axis=axis, keepdims=keepdims)
    return x


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
    """Edge features of one block before the first layer, `features @ weight + offset`.

    A matrix is applied to `weight` and `offset`, which all edges of a type share.

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


def matmul(x: Rows, weight: Array) -> Array:
    """Return `x @ weight` for rows `x` `[*rows, I]` and `weight` `[I, O]`."""
    if isinstance(x, Factored | RawEdges):
        return x @ weight
    # Of a matrix, the gradient in `weight` is one product; of more axes, CPUs take four
    # times as long for it.
    rows = x.reshape(-1, x.shape[-1]) @ weight
    return rows.reshape(*x.shape[:-1], weight.shape[-1])


def dense(x: Array | Factored) -> Array:
    """Return the rows of `x` as one array."""
    return contract(x.features, x.table[:, :, None]) if isinstance(x, Factored) else x


def contract(features: Array, table: Array) -> Array:
    """Return `sum_f features[..., f] * table[..., f, :]`, `[N, S, T, D]`, `F` small.

    The features are `[N, S, T, F]`, the table is `[N or 1, S or 1, T or 1, F, D]`.
    """
    # A sum of few products fuses with whatever reads it; a matrix product does not.
    terms = [
        features[..., f, None] * table[..., f, :] for f in range(features.shape[-1])
    ]
    return sum(terms[1:], start=terms[0])
