"""Exponents along one axis of a value: one for each of its atoms."""

from typing import Any

from symmerge_jax.tracing import _exponents
from symmerge_jax.tracing._exponents import ZERO, Weight

Weights = tuple[Weight, ...]


def total(a: Weights, b: Weights, factor: int = 1) -> Weights:
    """Return `a + factor * b`, atom by atom."""
    return tuple(
        _exponents.plus(x, y, factor) if y is not ZERO else x
        for x, y in zip(a, b, strict=True)
    )


def change(weights: Weights, scale: Any, sign: int) -> Weights:
    """Return exponents multiplied by one number each."""
    return tuple(_exponents.times(w, scale, sign) for w in weights)


def replace(weights: Weights, keep_scale: bool, keep_sign: bool) -> Weights:
    """Return exponents of which some are 0."""
    return tuple(
        Weight(w.scale if keep_scale else {}, w.sign if keep_sign else {})
        for w in weights
    )
