"""The modules with rules, which register them when they are imported."""

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
