"""The command `symmerge-jax`: networks in files, from the shell."""

from symmerge_jax.cli._guard import guard
from symmerge_jax.cli._main import main

__all__ = ["guard", "main"]
