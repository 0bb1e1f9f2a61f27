"""Compiled programs: kept between calls, lifted to batches, run in their precision."""

from symmerge_jax.programs._batched import batched, call
from symmerge_jax.programs._calls import called_program
from symmerge_jax.programs._control import COMPILED, EAGER, Control
from symmerge_jax.programs._remembered import (
    NOT_PURE,
    REFUSALS,
    first_line,
    not_pure,
    refuse_leaks,
    remembered,
)
from symmerge_jax.programs._scans import scan_counts

__all__ = [
    "COMPILED",
    "EAGER",
    "NOT_PURE",
    "REFUSALS",
    "Control",
    "batched",
    "call",
    "called_program",
    "first_line",
    "not_pure",
    "refuse_leaks",
    "remembered",
    "scan_counts",
]
