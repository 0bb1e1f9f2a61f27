"""Solvers that find which group element brings one network onto another."""

from symmerge_jax.alignment._activation_matching import ActivationMatching
from symmerge_jax.alignment._base import Aligner, AlignmentProblem, AlignmentResult
from symmerge_jax.alignment._certificate import certify, compare
from symmerge_jax.alignment._check_spec import check_spec
from symmerge_jax.alignment._checks import (
    Networks,
    check_networks,
    check_same_architecture,
    on_devices_of,
    open_networks,
    with_carried,
)
from symmerge_jax.alignment._finite import check_data, check_element, is_traced
from symmerge_jax.alignment._frank_wolfe import FrankWolfe
from symmerge_jax.alignment._many import (
    ManyProblem,
    ManyResult,
    between,
)
from symmerge_jax.alignment._merge_many import MergeMany
from symmerge_jax.alignment._programs import remembered
from symmerge_jax.alignment._projection import project
from symmerge_jax.alignment._relaxation import relax
from symmerge_jax.alignment._similarity import similarity
from symmerge_jax.alignment._sinkhorn_rebasin import SinkhornRebasin
from symmerge_jax.alignment._straight_through import StraightThrough
from symmerge_jax.alignment._universe import Universe
from symmerge_jax.alignment._verdict import Certificate
from symmerge_jax.alignment._weight_matching import WeightMatching

__all__ = [
    "ActivationMatching",
    "Aligner",
    "AlignmentProblem",
    "AlignmentResult",
    "Certificate",
    "FrankWolfe",
    "ManyProblem",
    "ManyResult",
    "MergeMany",
    "Networks",
    "SinkhornRebasin",
    "StraightThrough",
    "Universe",
    "WeightMatching",
    "between",
    "certify",
    "check_data",
    "check_element",
    "check_networks",
    "check_same_architecture",
    "check_spec",
    "compare",
    "is_traced",
    "on_devices_of",
    "open_networks",
    "project",
    "relax",
    "remembered",
    "similarity",
    "with_carried",
]
