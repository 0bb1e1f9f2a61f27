"""Metanetworks: networks that read the weights of other networks."""

from symmerge_jax.metanets._input_scale import InputScale, input_scale
from symmerge_jax.metanets._scale_gmn import ScaleGMN

__all__ = ["InputScale", "ScaleGMN", "input_scale"]
