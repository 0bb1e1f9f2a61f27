"""Solvers that find which group element brings one network onto another."""

from symmerge_jax.alignment._base import Aligner, AlignmentProblem, AlignmentResult
from symmerge_jax.alignment._projection import project
from symmerge_jax.alignment._similarity import similarity
from symmerge_jax.alignment._weight_matching import WeightMatching

__all__ = [
    "Aligner",
    "AlignmentProblem",
    "AlignmentResult",
    "WeightMatching",
    "project",
    "similarity",
]
