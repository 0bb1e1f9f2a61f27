"""Affine maps and normalisations as pure functions on parameter trees."""

import jax
import jax.numpy as jnp

from symmerge_jax.metanets import _equivariant
from symmerge_jax.typing import Array, Key, Params


def init_affine(key: Key, size: int, output_size: int) -> Params:
    """Return `w` `[size, output_size]` and `b` from `U(+-1/sqrt(size))`, as PyTorch."""
    keys = jax.random.split(key)
    return {
        "w": _equivariant.init_linear(keys[0], (size, output_size), size),
        "b": _equivariant.init_linear(keys[1], (output_size,), size),
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
    return _equivariant.add(x @ params["w"], params["b"])


def compose(first: Params, second: Params) -> Params:
    """Return the affine map that does `first`, then `second`."""
    return {
        "w": first["w"] @ second["w"],
        "b": first["b"] @ second["w"] + second["b"],
    }


def init_norm(size: int) -> Params:
    """Return `gain` of ones and `shift` of zeros, `[size]` each."""
    return {
        "gain": jnp.ones((size,), jnp.float32),
        "shift": jnp.zeros((size,), jnp.float32),
    }


def rescale(params: Params, x: Array) -> Array:
    """Return `x * gain + shift` for rows `[*rows, D]`."""
    shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
    return x * params["gain"].reshape(shape) + params["shift"].reshape(shape)


def layer_norm(params: Params, x: Array) -> Array:
    """Return rows `[*rows, D]` with mean 0 and variance 1, times gain, plus shift."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return rescale(params, centred * jax.lax.rsqrt(variance + 1e-5))
