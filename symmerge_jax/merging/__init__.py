"""Means, paths and barriers between networks that have been aligned."""

from symmerge_jax.merging._average import average, check_weights
from symmerge_jax.merging._barrier import Barrier, loss_barrier
from symmerge_jax.merging._interpolate import METHODS, interpolate

__all__ = [
    "METHODS",
    "Barrier",
    "average",
    "check_weights",
    "interpolate",
    "loss_barrier",
]
