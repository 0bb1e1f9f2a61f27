"""Networks that read the weights of other networks."""

from symmerge_jax.metanets._build import (
    ENCODERS,
    WIDTH,
    Statistics,
    build_encoder,
    build_node_encoder,
    encoder_keys,
)
from symmerge_jax.metanets._deep_weight_space import DeepWeightSpace
from symmerge_jax.metanets._encoder import (
    Encoder,
    NodeEncoder,
    ProbeEncoder,
    Variables,
    make_encoder,
    make_node_encoder,
)
from symmerge_jax.metanets._equivariant import inverse_norm
from symmerge_jax.metanets._graph_encoder import GraphEncoder
from symmerge_jax.metanets._inputs import (
    InputMoments,
    InputScale,
    input_moments,
    input_scale,
)
from symmerge_jax.metanets._neural_graphs import NeuralGraphs, RelationalTransformer
from symmerge_jax.metanets._predictor import MLPHead, Predictor, make_predictor
from symmerge_jax.metanets._scale_gmn import ScaleGMN

__all__ = [
    "ENCODERS",
    "WIDTH",
    "DeepWeightSpace",
    "Encoder",
    "GraphEncoder",
    "InputMoments",
    "InputScale",
    "MLPHead",
    "NeuralGraphs",
    "NodeEncoder",
    "Predictor",
    "ProbeEncoder",
    "RelationalTransformer",
    "ScaleGMN",
    "Statistics",
    "Variables",
    "build_encoder",
    "build_node_encoder",
    "encoder_keys",
    "input_moments",
    "input_scale",
    "inverse_norm",
    "make_encoder",
    "make_node_encoder",
    "make_predictor",
]
