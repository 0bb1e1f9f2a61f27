"""Maps of latent spaces, and measures of latents."""

from experiments.latents._numbers import farthest_pair

__all__ = ["farthest_pair"]
