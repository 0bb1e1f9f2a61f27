"""One rule per primitive, and the lemma that it stands on.

The modules register their rules when they are imported.
"""

from symmerge_jax.tracing.rules import (
    _contractions,
    _control,
    _elementwise,
    _functions,
    _indexing,
    _joins,
    _orders,
    _shapes,
    _slices,
)

__all__ = ["MODULES"]

MODULES = (
    _contractions,
    _control,
    _elementwise,
    _functions,
    _indexing,
    _joins,
    _orders,
    _shapes,
    _slices,
)
"""Where the rules stand."""
