"""Metanetworks: networks that read the weights of other networks."""

from symmerge_jax.metanets._deep_weight_space import DeepWeightSpace
from symmerge_jax.metanets._equivariant import inverse_norm
from symmerge_jax.metanets._fourier_features import InputMoments, input_moments
from symmerge_jax.metanets._input_scale import InputScale, input_scale
from symmerge_jax.metanets._neural_graphs import NeuralGraphs, RelationalTransformer
from symmerge_jax.metanets._scale_gmn import ScaleGMN

__all__ = [
    "DeepWeightSpace",
    "InputMoments",
    "InputScale",
    "NeuralGraphs",
    "RelationalTransformer",
    "ScaleGMN",
    "input_moments",
    "input_scale",
    "inverse_norm",
]
