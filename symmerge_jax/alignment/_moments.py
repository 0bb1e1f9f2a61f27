"""Means, variances and covariances of the features of two networks, chunk by chunk.

Chan, Golub and LeVeque 1983, *Algorithms for computing the sample variance*.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _units
from symmerge_jax.typing import Array


class Moments(NamedTuple):
    """Means `[*over, n]`, variances, and covariances `[*over, n, n]` of features.

    Of a space over one that moves, with `m` neurons, covariances of all pairs of both,
    `[..., m, m, n, n]`.
    """

    mean_a: Array
    mean_b: Array
    var_a: Array
    var_b: Array
    cov: Array


def of_features(a: Array, b: Array, units: _units.Pair, is_inner: bool) -> Moments:
    """Return the moments of features `[S, *over, n]` in these units."""
    a, b = a * units.a, b * units.b
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a[None], b - mean_b[None]
    if a.ndim == 2:
        cov = jnp.matmul(a.T, b)
    else:
        subscripts = "s...ik,s...jl->...ijkl" if is_inner else "s...i,s...j->...ij"
        cov = jnp.einsum(subscripts, a, b)
    var_a, var_b = jnp.mean(a**2, 0), jnp.mean(b**2, 0)
    return Moments(mean_a, mean_b, var_a, var_b, cov / len(a))


def _outer(x: Array, y: Array, like: Array) -> Array:
    """Return the products of all pairs of neurons, of the shape of covariances."""
    if like.ndim > x.ndim + 1:
        return x[..., :, None, :, None] * y[..., None, :, None, :]
    return x[..., :, None] * y[..., None, :]


def union(old: Moments, new: Moments, fraction: Array | float) -> Moments:
    """Return the moments of the union; `fraction` is the share of the new samples."""
    fraction = jnp.asarray(fraction, old.cov.dtype)
    between = fraction * (1 - fraction)
    shift_a, shift_b = new.mean_a - old.mean_a, new.mean_b - old.mean_b
    mix = jax.tree.map(lambda x, y: (1 - fraction) * x + fraction * y, old, new)
    return mix._replace(
        var_a=mix.var_a + between * shift_a**2,
        var_b=mix.var_b + between * shift_b**2,
        cov=mix.cov + between * _outer(shift_a, shift_b, mix.cov),
    )


def at_unit_power(
    moments: Moments,
) -> tuple[Moments, symmetry.Monomial, symmetry.Monomial]:
    """Return the moments at mean squares of one, and the scales that achieve this."""

    def scale(mean, var):
        power = mean**2 + var
        factor = jnp.where(power > 0, jax.lax.rsqrt(jnp.where(power > 0, power, 1)), 1)
        still = symmetry.identity({"space": mean.shape})["space"]
        return symmetry.Monomial(still.perm.astype(jnp.int32), factor)

    unit_a = scale(moments.mean_a, moments.var_a)
    unit_b = scale(moments.mean_b, moments.var_b)
    a, b = unit_a.scale, unit_b.scale
    scaled = Moments(
        moments.mean_a * a,
        moments.mean_b * b,
        moments.var_a * a**2,
        moments.var_b * b**2,
        moments.cov * _outer(a, b, moments.cov),
    )
    return scaled, unit_a, unit_b


def compare(moments: Moments, units: _units.Pair, kind: str) -> tuple[Array, Array]:
    """Return similarities, and the objective of neurons with similarity zero.

    Similarities have the shape of covariances.

    The objective of a monomial, in the common unit, is the offset minus the mean gain
    of its neurons.
    """
    mean_a, mean_b, var_a, var_b, cov = moments
    if kind == "inner_product":
        product = cov + _outer(mean_a, mean_b, cov)
        _, of_a, of_b = common(units)
        power_a = jnp.mean(mean_a**2 + var_a) * of_a**2
        power = power_a + jnp.mean(mean_b**2 + var_b) * of_b**2
        return 2 * product, power
    unit_a, unit_b = _inverse_std(mean_a, var_a), _inverse_std(mean_b, var_b)
    return cov * _outer(unit_a, unit_b, cov), jnp.ones((), cov.dtype)


def _inverse_std(mean: Array, var: Array) -> Array:
    """Return `1 / std`, `[n]`; 0 where the variance is zero or rounding of the mean."""
    alive = var > (16 * jnp.finfo(var.dtype).eps) ** 2 * mean**2
    return jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, var, 1)), 0)


def ones(moments: Moments) -> _units.Pair:
    return _units.Pair(*(jnp.ones((), moments.cov.dtype),) * 2)


def common(units: _units.Pair) -> tuple[Array, Array, Array]:
    """Return the unit that fits both, and what leads to it from that of each."""
    both = jnp.minimum(units.a, units.b)
    return both, both / units.a, both / units.b
