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

from symmerge_jax.metanets import _affine

EPSILON = 1e-5
"""Added to the variance, as in the published models (the default of PyTorch)."""


def centre(
    weight: Float[Array, "I O"], bias: Float[Array, " O"]
) -> tuple[Float[Array, "I O"], Float[Array, " O"]]:
    """Return a linear map whose outputs have mean zero for every input.

    Of `x -> y - mean(y)` with `y = x @ weight + bias`.
    """
    return (
        weight - jnp.mean(weight, axis=-1, keepdims=True),
        bias - jnp.mean(bias, axis=-1, keepdims=True),
    )


@jax.custom_vjp
def norm_silu(
    x: Float[Array, "*rows D"], gain: Float[Array, " D"], shift: Float[Array, " D"]
) -> Float[Array, "*rows D"]:
    """Return `silu(gain * x / sqrt(mean(x^2) + 1e-5) + shift)`, rows of mean zero."""
    return _forward(x, gain, shift)[0]


@jax.custom_vjp
def norm_silu_even(
    x: Float[Array, "*rows D"],
    bias: Float[Array, " D"],
    gain: Float[Array, " D"],
    shift: Float[Array, " D"],
) -> Float[Array, "*rows D"]:
    """Return `norm_silu(bias + x) + norm_silu(bias - x)`, exactly even in `x`.

    Two hidden layers of one MLP, at `+x` and `-x`, with the sum taken before the second
    linear map, so that one product with each of its matrices serves both. The first
    linear map is centred: `bias` and the rows of `x`, which lack it, have mean zero.
    """
    return _norm_silu_even_fwd(x, bias, gain, shift)[0]


def _forward(x, gain, shift):
    inverse = _inverse_rms(x)
    affine = x * inverse * _affine.row(gain, x) + _affine.row(shift, x)
    return jax.nn.silu(affine), inverse


def _inverse_rms(x):
    inverse = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    # One number per row; without the barrier XLA writes it out to the width of x.
    return jax.lax.optimization_barrier(inverse)


def _backward(x, inverse, gain, shift, cotangent):
    """Return the cotangents of the input and, still per row, of gain and shift."""
    unit = x * inverse
    affine = unit * _affine.row(gain, x) + _affine.row(shift, x)
    sigmoid = jax.nn.sigmoid(affine)
    d_affine = cotangent * sigmoid * (1 + affine * (1 - sigmoid))
    # Four sums and products read it: write it once instead of taking four exponentials.
    d_affine = jax.lax.optimization_barrier(d_affine)
    d_gain = d_affine * unit
    # mean(d_gain * gain) as a product: XLA's CPU reduction would write out the factor.
    dot = (d_gain @ (gain / gain.size))[..., None]
    d_x = inverse * (d_affine * _affine.row(gain, x) - unit * dot)
    return d_x, d_gain, d_affine


def _norm_silu_fwd(x, gain, shift):
    value, inverse = _forward(x, gain, shift)
    return value, (x, inverse, gain, shift)


def _norm_silu_bwd(residuals, cotangent):
    x, inverse, gain, shift = residuals
    x = jax.lax.optimization_barrier(x)
    d_x, d_gain, d_shift = _backward(x, inverse, gain, shift, cotangent)
    return d_x, _total(d_gain), _total(d_shift)


def _norm_silu_even_fwd(x, bias, gain, shift):
    row = _affine.row(bias, x)
    plus, inverse_plus = _forward(row + x, gain, shift)
    minus, inverse_minus = _forward(row - x, gain, shift)
    return plus + minus, (x, inverse_plus, inverse_minus, bias, gain, shift)


def _norm_silu_even_bwd(residuals, cotangent):
    x, inverse_plus, inverse_minus, bias, gain, shift = residuals
    x = jax.lax.optimization_barrier(x)
    row = _affine.row(bias, x)
    plus = _backward(row + x, inverse_plus, gain, shift, cotangent)
    minus = _backward(row - x, inverse_minus, gain, shift, cotangent)
    return (
        plus[0] - minus[0],
        _total(plus[0] + minus[0]),
        _total(plus[1] + minus[1]),
        _total(plus[2] + minus[2]),
    )


def _total(x):
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))


norm_silu.defvjp(_norm_silu_fwd, _norm_silu_bwd)
norm_silu_even.defvjp(_norm_silu_even_fwd, _norm_silu_even_bwd)
