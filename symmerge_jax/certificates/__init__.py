"""Proofs that a spec fits a network, and that a network kept its function."""

from symmerge_jax.certificates._certificate import certify, compare_functions
from symmerge_jax.certificates._check_spec import check_spec
from symmerge_jax.certificates._network import refuse_traced
from symmerge_jax.certificates._verdict import Certificate

__all__ = [
    "Certificate",
    "certify",
    "check_spec",
    "compare_functions",
    "refuse_traced",
]
