"""Paths between two networks in weight space."""

from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params

METHODS = ("linear", "spherical")
"""Known paths."""


def interpolate(
    params_a: Params, params_b: Params, lam: Any, *, method: str = "linear"
) -> Params:
    """Return networks on the path from `params_a` to `params_b`.

    Linear: `(1 - lam) a + lam b`. Spherical, with all parameters of a network as one
    vector and `omega` the angle between the two vectors (Shoemake 1985):

        `sin((1 - lam) omega) / sin(omega) a + sin(lam omega) / sin(omega) b`.

    The weights are computed as `(1 - lam) sinc((1 - lam) omega) / sinc(omega)` with
    `sinc(x) = sin(x) / x`, so that parallel vectors (`omega = 0`) need no special case.
    The angle with a network of zeros is taken as 0. Opposite vectors (`a = -c b`, `c >
    0`) have no unique path between them: the result is NaN.

    Law: at `lam = 0` the result is `params_a`, at `lam = 1` it is `params_b`.

    Args:
      params_a: parameters of one network; lift spherical paths of batches of pairs with
        `jax.vmap` (linear ones need no lifting, but for a vector `lam`).
      params_b: parameters of another network, aligned with the first.
      lam: `[]` or `[num]`, 0 for `params_a`, 1 for `params_b`; values outside [0, 1]
        extrapolate.
      method: "linear" or "spherical".

    Returns:
      The tree of `params_a`, in its data types; with a leading axis `[num]` on every
      parameter if `lam` has one. What is not a parameter is that of `params_a`.

    Raises:
      TypeError, ValueError: networks of another tree, shape or type, or a leaf that is
        no array.

    Example:
      >>> path = interpolate({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, jnp.array([0, 1]))
      >>> path["w"].tolist()
      [[0.0, 0.0], [1.0, 1.0]]
    """
    symmetry.check_same_architecture({"params_a": params_a, "params_b": params_b})
    whole, (params_a, _) = params_a, symmetry.split(params_a)
    params_b = symmetry.on_devices_of(params_a, params_b)
    params_b = symmetry.rebuild(params_a, symmetry.flatten(symmetry.split(params_b)[0]))
    check_method(method)
    dtype = symmetry.computing_dtype(params_a)
    lam = jnp.asarray(lam, dtype)
    if lam.ndim > 1:
        raise ValueError(f"lam must be a number or a vector, got shape {lam.shape}.")
    weight_a, weight_b = 1 - lam, lam
    if method == "spherical":
        omega = _angle(params_a, params_b)
        weight_a, weight_b = (
            w * _sinc(w * omega) / _sinc(omega) for w in (1 - lam, lam)
        )

    def combine(a: Array, b: Array) -> Array:
        shape = (*lam.shape, *[1] * a.ndim)
        a, b = (x.reshape(*[1] * lam.ndim, *x.shape) for x in (a, b))
        mixed = weight_a.reshape(shape) * a.astype(dtype)
        mixed += weight_b.reshape(shape) * b.astype(dtype)
        return mixed.astype(a.dtype)

    mixed = jax.tree.map(combine, params_a, params_b)
    return symmetry.rebuild(whole, symmetry.flatten(mixed))


def check_method(method: str) -> None:
    """Refuse an unknown path."""
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}; known are {METHODS}.")


def _sinc(x: Array) -> Array:
    return jnp.sinc(x / jnp.pi)


def _angle(params_a: Params, params_b: Params) -> Array:
    """Return the angle in [0, pi) between two networks as vectors, radians, or NaN."""
    norm_a, norm_b = _norm(params_a), _norm(params_b)
    some = (norm_a > 0) & (norm_b > 0)
    scale_a, scale_b = (jnp.where(some, norm, 1) for norm in (norm_a, norm_b))
    unit_a = jax.tree.map(lambda a: a / scale_a, params_a)
    unit_b = jax.tree.map(lambda b: b / scale_b, params_b)
    # Kahan's formula, exact to rounding at all angles; arccos loses half of the digits
    # near 0 and pi.
    difference = _norm(jax.tree.map(jnp.subtract, unit_a, unit_b))
    total = _norm(jax.tree.map(jnp.add, unit_a, unit_b))
    omega = jnp.where(some, 2 * jnp.arctan2(difference, total), 0)
    opposite = some & (total <= 8 * jnp.finfo(total.dtype).eps)
    return jnp.where(opposite, jnp.nan, omega)


def _norm(params: Params) -> Array:
    dtype = symmetry.computing_dtype(params)
    squares = [jnp.sum(jnp.square(x.astype(dtype))) for x in jax.tree.leaves(params)]
    return jnp.sqrt(sum(squares))
