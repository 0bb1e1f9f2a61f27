"""Autoencoders of network parameters: canonicalisation by learning."""

from symmerge_jax.autoencoders._autoencoder import Autoencoder, autoencoder
from symmerge_jax.autoencoders._batches import map_batches
from symmerge_jax.autoencoders._build import (
    ENCODERS,
    Statistics,
    build,
    build_encoder,
    build_node_encoder,
    encoder_keys,
)
from symmerge_jax.autoencoders._canonicalizer import (
    Canonicalizer,
    load_canonicalizer,
    save_canonicalizer,
)
from symmerge_jax.autoencoders._decoder import (
    HEADS,
    MLPDecoder,
    moments_of,
    tensor_shapes,
)
from symmerge_jax.autoencoders._distillation import (
    distillation_loss,
    population_logits,
)
from symmerge_jax.autoencoders._encoder import (
    Encoder,
    NodeEncoder,
    Variables,
    encoder,
    node_encoder,
)
from symmerge_jax.autoencoders._losses import (
    functional_loss,
    psnr,
    render,
    weight_loss,
)
from symmerge_jax.autoencoders._model_files import (
    ModelFormat,
    load_model,
    save_model,
)
from symmerge_jax.autoencoders._predictor import MLPHead, Predictor, predictor
from symmerge_jax.autoencoders._probe import ProbeEncoder

__all__ = [
    "ENCODERS",
    "HEADS",
    "Autoencoder",
    "Canonicalizer",
    "Encoder",
    "MLPDecoder",
    "MLPHead",
    "ModelFormat",
    "NodeEncoder",
    "Predictor",
    "ProbeEncoder",
    "Statistics",
    "Variables",
    "autoencoder",
    "build",
    "build_encoder",
    "build_node_encoder",
    "distillation_loss",
    "encoder",
    "encoder_keys",
    "functional_loss",
    "load_canonicalizer",
    "load_model",
    "map_batches",
    "moments_of",
    "node_encoder",
    "population_logits",
    "predictor",
    "psnr",
    "render",
    "save_canonicalizer",
    "save_model",
    "tensor_shapes",
    "weight_loss",
]
