"""Remove the symmetries of trained neural networks: canonicalise, align, merge."""

from symmerge_jax._align import Alignment, align
from symmerge_jax._canonicalize import Canonical, canonicalize
from symmerge_jax._io import load, load_architecture, save
from symmerge_jax._merge import Merge, merge
from symmerge_jax.autoencoders import load_canonicalizer
from symmerge_jax.deep_align import load_matcher
from symmerge_jax.merging import Barrier, interpolate, loss_barrier
from symmerge_jax.typing import Task

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "Barrier",
    "Canonical",
    "Merge",
    "Task",
    "__version__",
    "align",
    "canonicalize",
    "interpolate",
    "load",
    "load_architecture",
    "load_canonicalizer",
    "load_matcher",
    "loss_barrier",
    "merge",
    "save",
]
