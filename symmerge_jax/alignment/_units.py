"""Powers of two that keep products of huge and of tiny weights within range.

Squares of float32 weights overflow from 1.8e19 on and vanish below 1e-19. Weights are
therefore compared in units: times a power of two, which rounds nothing, so that the
largest is near one. Ordinary weights are compared as they are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.typing import Array, Params

_ORDINARY = 2.0**-8, 2.0**8
"""Sizes of the largest weight for which the unit is one."""


class Pair(NamedTuple):
    """Units `[]` of two networks, by which their rows or features are multiplied."""

    a: Array
    b: Array


def unit(*arrays: Array) -> Array:
    """Return the power of two `[]` that brings the largest entry of all near one.

    One if that is ordinary, zero or not finite. What is smaller than normal numbers of
    the data type is zero for JAX on CPUs, in the network itself, too.
    """
    if not arrays:
        return jnp.ones(())
    numbers = programs.namespace(arrays)
    dtype = numbers.result_type(*arrays)
    sizes = [numbers.max(abs(x), initial=0).astype(dtype) for x in arrays]
    largest = numbers.max(numbers.stack(sizes))
    if numbers is jnp:
        largest = jax.lax.stop_gradient(largest)
    low, high = _ORDINARY
    extreme = (largest > 0) & numbers.isfinite(largest)
    extreme = extreme & ((largest < low) | (largest > high))
    info = jnp.finfo(dtype)
    # Within powers of two that have an inverse.
    small, large = 2.0 ** (info.minexp + 2), 2.0 ** (info.maxexp - 3)
    bounded = numbers.clip(numbers.where(extreme, largest, 1), small, large)
    if numbers is np:
        return np.asarray(np.ldexp(np.ones((), dtype), 1 - np.frexp(bounded)[1]))
    power = jax.lax.reduce_precision(bounded, exponent_bits=info.nexp, mantissa_bits=0)
    return 1 / power


def of_networks(spec: symmetry.SymmetrySpec, *networks: Params) -> Array:
    """Return the unit of all weights of some networks that count in matching."""
    return unit(
        *(
            leaf
            for params in networks
            for path, leaf in symmetry.flatten(params).items()
            if symmetry.is_parameter(leaf) and spec.match_weight(path)
        )
    )


def divide(x: Array, *units: Array) -> Array:
    """Return `x` divided by each unit in turn: their product may be out of range."""
    for factor in units:
        # Otherwise the compiler divides by the product.
        x = x / factor.astype(x.dtype)
        x = jax.lax.optimization_barrier(x) if symmetry.is_traced(x) else x
    return x


def restore(squares: Array, unit: Array) -> Array:
    """Return squares that were computed in a unit as those of the weights themselves.

    Where these are beyond the range of the data type, its largest or its smallest
    positive number stands for them: zero stays what only equal networks have.
    """
    info = jnp.finfo(squares.dtype)
    numbers = programs.namespace(squares, unit)
    size = divide(abs(squares), unit, unit)
    bounded = numbers.clip(size, float(info.tiny), float(info.max))
    return numbers.asarray(numbers.sign(squares) * bounded)
