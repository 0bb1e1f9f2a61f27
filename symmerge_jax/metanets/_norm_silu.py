"""LayerNorm followed by SiLU on centred features, the elementwise half of every MLP.

`Linear -> LayerNorm -> SiLU` subtracts the mean of the linear map's outputs. That mean
is itself linear in the input, so it can be subtracted from the weights once instead of
from every row (`centre`); what is left of LayerNorm is a division by the root mean
square. Both functions here keep only their input for the backward pass and compute the
rest again, since on most machines moving an activation costs more than its exponential.

Reverse-mode differentiation only (`jax.custom_vjp`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5
"""Added to the variance, as in the published models (the default of PyTorch)."""


def centre(
    weight: Float[Array, "I O"], bias: Float[Array, " O"]
) -> tuple[Float[Array, "I O"], Float[Array, " O"]]:
    """Return a linear map whose outputs have mean zero for every input.

    Args:
      weight: `[I, O]` kernel.
      bias: `[O]`.

    Returns:
      Kernel and bias of `x -> y - mean(y)`, `y = x @ weight + bias`.
    """
    return (
        weight - jnp.mean(weight, axis=-1, keepdims=True),
        bias - jnp.mean(bias, axis=-1, keepdims=True),
    )


@jax.custom_vjp
def norm_silu(
    x: Float[Array, "*rows D"], gain: Float[Array, " D"], shift: Float[Array, " D"]
) -> Float[Array, "*rows D"]:
    """Return `silu(gain * x / sqrt(mean(x^2) + 1e-5) + shift)` for centred rows `x`.

    Args:
      x: `[*rows, D]` with rows of mean zero (see `centre`).
      gain: `[D]` gain of the LayerNorm.
      shift: `[D]` shift of the LayerNorm.

    Returns:
      `[*rows, D]`.
    """
    return _forward(x, gain, shift)


@jax.custom_vjp
def norm_silu_even(
    x: Float[Array, "*rows D"],
    bias: Float[Array, " D"],
    gain: Float[Array, " D"],
    shift: Float[Array, " D"],
) -> Float[Array, "*rows D"]:
    """Return `norm_silu(bias + x) + norm_silu(bias - x)`, exactly even in `x`.

    Two hidden layers of one MLP, at `+x` and `-x`, with the sum taken before the second
    linear map, so that one product with each of its matrices serves both.

    Args:
      x: `[*rows, D]` first linear map without its bias; rows of mean zero.
      bias: `[D]` bias of the first linear map; mean zero.
      gain: `[D]` gain of the LayerNorm.
      shift: `[D]` shift of the LayerNorm.

    Returns:
      `[*rows, D]`.
    """
    bias = _row(bias, x)
    return _forward(bias + x, gain, shift) + _forward(bias - x, gain, shift)


def _forward(x, gain, shift):
    inverse = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    return jax.nn.silu(x * inverse * _row(gain, x) + _row(shift, x))


def _backward(x, gain, shift, cotangent):
    """Return cotangents of the input, of gain and of shift (both still per row)."""
    inverse = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    unit = x * inverse
    affine = unit * _row(gain, x) + _row(shift, x)
    sigmoid = jax.nn.sigmoid(affine)
    d_affine = cotangent * sigmoid * (1 + affine * (1 - sigmoid))
    d_unit = d_affine * _row(gain, x)
    d_x = inverse * (d_unit - unit * jnp.mean(d_unit * unit, axis=-1, keepdims=True))
    return d_x, d_affine * unit, d_affine


def _norm_silu_fwd(x, gain, shift):
    return _forward(x, gain, shift), (x, gain, shift)


def _norm_silu_bwd(residuals, cotangent):
    d_x, d_gain, d_shift = _backward(*residuals, cotangent)
    return d_x, _total(d_gain), _total(d_shift)


def _norm_silu_even_fwd(x, bias, gain, shift):
    row = _row(bias, x)
    value = _forward(row + x, gain, shift) + _forward(row - x, gain, shift)
    return value, (x, bias, gain, shift)


def _norm_silu_even_bwd(residuals, cotangent):
    x, bias, gain, shift = residuals
    row = _row(bias, x)
    plus, gain_plus, shift_plus = _backward(row + x, gain, shift, cotangent)
    minus, gain_minus, shift_minus = _backward(row - x, gain, shift, cotangent)
    return (
        plus - minus,
        _total(plus + minus),
        _total(gain_plus + gain_minus),
        _total(shift_plus + shift_minus),
    )


def _total(x):
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))


def _row(vector, like):
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


norm_silu.defvjp(_norm_silu_fwd, _norm_silu_bwd)
norm_silu_even.defvjp(_norm_silu_even_fwd, _norm_silu_even_bwd)
