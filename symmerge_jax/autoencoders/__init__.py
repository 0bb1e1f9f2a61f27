"""Autoencoders of network parameters: canonicalisation by learning."""

from symmerge_jax.autoencoders._autoencoder import Autoencoder, build, make_autoencoder
from symmerge_jax.autoencoders._canonicalizer import (
    Canonicalizer,
    save_canonicalizer,
)
from symmerge_jax.autoencoders._decoder import HEADS, MLPDecoder, moments_of
from symmerge_jax.autoencoders._losses import (
    distillation_loss,
    functional_loss,
    psnr,
    weight_loss,
)
from symmerge_jax.autoencoders._pretrained import (
    CARD,
    load_canonicalizer,
    pretrained,
)

__all__ = [
    "CARD",
    "HEADS",
    "Autoencoder",
    "Canonicalizer",
    "MLPDecoder",
    "build",
    "distillation_loss",
    "functional_loss",
    "load_canonicalizer",
    "make_autoencoder",
    "moments_of",
    "pretrained",
    "psnr",
    "save_canonicalizer",
    "weight_loss",
]
