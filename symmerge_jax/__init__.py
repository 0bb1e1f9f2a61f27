"""Remove the symmetries of trained neural networks: canonicalise, align, merge."""

from symmerge_jax._canonicalize import canonicalize
from symmerge_jax._io import load, load_architecture, save
from symmerge_jax.autoencoders import load_canonicalizer

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "canonicalize",
    "load",
    "load_architecture",
    "load_canonicalizer",
    "save",
]
