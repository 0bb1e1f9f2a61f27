"""Linear assignment problems: exact solutions, proofs of optimality, relaxations."""

from symmerge_jax.assignment._duality import Duals, dual_potentials, optimality_gap
from symmerge_jax.assignment._lap import solve_lap
from symmerge_jax.assignment._sinkhorn import sinkhorn

__all__ = ["Duals", "dual_potentials", "optimality_gap", "sinkhorn", "solve_lap"]
