"""Sine and cosine of one argument for the price of a few multiplications.

Most of the time of fitting a SIREN goes into sines, and its gradient needs the cosine
of the same argument. The library functions of XLA are slow on CPUs. With the argument
in turns the range reduction is exact and takes two operations, and a short polynomial
does the rest in plain vector arithmetic.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Minimax coefficients in r**2 for sin(2 pi r) / r and cos(2 pi r), -1/2 <= r <= 1/2.
_SINE = (6.28318282, -41.3414214, 81.5961838, -76.5801001, 41.2053932, -12.2712598)
_COSINE = (
    0.999999989,
    -19.7392045,
    64.939119,
    -85.4501655,
    60.1678313,
    -25.9683118,
    6.52960842,
)


def sin_cos_turns(
    turns: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return `sin(2 pi turns)` and `cos(2 pi turns)`.

    Args:
      turns: angles in turns of 2 pi radians.

    Returns:
      The sine and the cosine; both are within 1e-6 of the exact values in float32, for
      arguments of any size.
    """
    r = turns - jnp.round(turns)
    square = r * r
    return r * _horner(_SINE, square), _horner(_COSINE, square)


def _horner(coefficients, x):
    """Return the polynomial with these coefficients, lowest power first."""
    value = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value
