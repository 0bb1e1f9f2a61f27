"""Sines that cost a CPU no more than a few products."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from symmerge_jax.typing import Array

# Minimax coefficients in r**2 for sin(2 pi r) / r and cos(2 pi r), -1/2 <= r <= 1/2.
_SINE = (6.28318282, -41.3414214, 81.5961838, -76.5801001, 41.2053932, -12.2712598)
_COSINE = (
    *(0.999999989, -19.7392045, 64.939119, -85.4501655),
    *(60.1678313, -25.9683118, 6.52960842),
)


@jax.custom_jvp
def sine(x: Float[Array, "*shape"]) -> Array:
    """Return `sin(x)`; where it is differentiated in float32, by `sin_cos_turns`.

    JAX computes a sine and the cosine of its derivative number by number on CPUs, which
    is a tenth of a training step of INRs. Of itself it is `jnp.sin`, bit for bit.

    Args:
      x: angles in radians.
    """
    return jnp.sin(x)


@sine.defjvp
def _sine_and_slope(primals, tangents):
    [x], [change] = primals, tangents
    if x.dtype == jnp.float32:
        wave, slope = sin_cos_turns(x * (0.5 / math.pi))
    else:
        wave, slope = jnp.sin(x), jnp.cos(x)
    return wave, slope * change


def sin_cos_turns(
    turns: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return `sin(2 pi turns)` and `cos(2 pi turns)`, several times faster on CPUs.

    With the argument in turns the range reduction is exact and takes two operations;
    a short polynomial does the rest in plain vector arithmetic.

    Args:
      turns: angles in turns of 2 pi radians.

    Returns:
      The sine and the cosine; both are within 1e-6 of the exact values in float32, for
      arguments of any size.
    """
    r = turns - jnp.round(turns)
    square = r * r
    return r * _horner(_SINE, square), _horner(_COSINE, square)


def _horner(coefficients: Sequence[float], x: Array) -> Array:
    """Return the polynomial with these coefficients, lowest power first."""
    value = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value
