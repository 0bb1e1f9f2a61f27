"""Symmetries of any JAX function in its parameters, inferred from its program."""

from symmerge_jax.tracing._features import make_features
from symmerge_jax.tracing._inference import infer
from symmerge_jax.tracing._spec import space_names, to_spec
from symmerge_jax.tracing._traced import Traced, TracedSpace, Use
from symmerge_jax.tracing._values import Reason

__all__ = [
    "Reason",
    "Traced",
    "TracedSpace",
    "Use",
    "infer",
    "make_features",
    "space_names",
    "to_spec",
]
