"""Compiled programs: kept between calls, lifted to batches, run in their precision."""

from symmerge_jax.programs._batched import batched, call
from symmerge_jax.programs._calls import called_program
from symmerge_jax.programs._control import Control, control
from symmerge_jax.programs._namespace import each, namespace, on_host, placed
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
    "NOT_PURE",
    "REFUSALS",
    "Control",
    "batched",
    "call",
    "called_program",
    "control",
    "each",
    "first_line",
    "namespace",
    "not_pure",
    "on_host",
    "placed",
    "refuse_leaks",
    "remembered",
    "scan_counts",
]
