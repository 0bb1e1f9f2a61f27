"""Remove the symmetries of trained neural networks: canonicalise, align, merge."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from symmerge_jax._align import Alignment, align
from symmerge_jax._canonicalize import Canonical, canonicalize
from symmerge_jax._merge import Merge, merge
from symmerge_jax._merge_stored import StoredMerge, merge_stored
from symmerge_jax._trace import trace
from symmerge_jax.autoencoders import load_canonicalizer
from symmerge_jax.deep_align import load_matcher
from symmerge_jax.merging import Barrier, interpolate, loss_barrier
from symmerge_jax.storage import load, load_architecture, save
from symmerge_jax.typing import Task

__version__ = "0.2.0"

__all__ = [
    "Alignment",
    "Barrier",
    "Canonical",
    "Merge",
    "StoredMerge",
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
    "merge_stored",
    "save",
    "trace",
]

_PACKAGES = {module.name for module in pkgutil.iter_modules(__path__)}

if not TYPE_CHECKING:  # a type checker would take every name for an attribute

    def __getattr__(name):
        """Return a package of the library, imported when it is first asked for."""
        if name in _PACKAGES and not name.startswith("_"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, packages included."""
    return sorted({*__all__, *(name for name in _PACKAGES if name[0] != "_")})
