"""Linear assignment problems: exact solutions, proofs of optimality, relaxations."""

from symmerge_jax.assignment._lap import solve_lap

__all__ = ["solve_lap"]
