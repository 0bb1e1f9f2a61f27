"""Solvers that find which group element brings one network onto another."""

from symmerge_jax.alignment._activation_matching import ActivationMatching
from symmerge_jax.alignment._base import Aligner, AlignmentProblem, AlignmentResult
from symmerge_jax.alignment._checks import check_data, check_element
from symmerge_jax.alignment._frank_wolfe import FrankWolfe
from symmerge_jax.alignment._many import ManyProblem, ManyResult, element_between
from symmerge_jax.alignment._many_solvers import ManyAligner, MergeMany, Universe
from symmerge_jax.alignment._projection import project, relax
from symmerge_jax.alignment._similarity import similarity
from symmerge_jax.alignment._sinkhorn_rebasin import SinkhornRebasin
from symmerge_jax.alignment._straight_through import StraightThrough
from symmerge_jax.alignment._weight_matching import MIN_MEMORY, WeightMatching

__all__ = [
    "MIN_MEMORY",
    "ActivationMatching",
    "Aligner",
    "AlignmentProblem",
    "AlignmentResult",
    "FrankWolfe",
    "ManyAligner",
    "ManyProblem",
    "ManyResult",
    "MergeMany",
    "SinkhornRebasin",
    "StraightThrough",
    "Universe",
    "WeightMatching",
    "check_data",
    "check_element",
    "element_between",
    "project",
    "relax",
    "similarity",
]
