"""Means, paths and barriers of aligned networks, and what comes after the mean."""

from symmerge_jax.merging._average import (
    average,
    average_layers,
    average_stored,
    check_weights,
)
from symmerge_jax.merging._barrier import Barrier, loss_barrier
from symmerge_jax.merging._interpolate import METHODS, interpolate
from symmerge_jax.merging._layers import Fit
from symmerge_jax.merging._partial import merge_partially, widen
from symmerge_jax.merging._repair import (
    REPAIRS,
    Repair,
    check_repairs,
    repair,
)
from symmerge_jax.merging._stepwise import function_change
from symmerge_jax.merging._synthetic import smooth_noise, synthesize

__all__ = [
    "METHODS",
    "REPAIRS",
    "Barrier",
    "Fit",
    "Repair",
    "average",
    "average_layers",
    "average_stored",
    "check_repairs",
    "check_weights",
    "function_change",
    "interpolate",
    "loss_barrier",
    "merge_partially",
    "repair",
    "smooth_noise",
    "synthesize",
    "widen",
]
