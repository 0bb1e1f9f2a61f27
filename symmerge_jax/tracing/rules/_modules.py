"""The modules with rules, which register them when they are imported."""

import importlib

MODULES = tuple(
    importlib.import_module(f"symmerge_jax.tracing.rules.{name}")
    for name in (
        "_contractions",
        "_control",
        "_elementwise",
        "_functions",
        "_indexing",
        "_joins",
        "_orders",
        "_shapes",
        "_slices",
    )
)
