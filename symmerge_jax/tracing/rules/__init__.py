"""One rule per primitive, and the lemma that it stands on."""

from symmerge_jax.tracing.rules._modules import MODULES

__all__ = ["MODULES"]
