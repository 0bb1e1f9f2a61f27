"""The networks being studied, as pure functions with their symmetry."""

from symmerge_jax.networks._batches import map_batches, population_logits, render
from symmerge_jax.networks._build import DECISIVE, KINDS, build, undecided
from symmerge_jax.networks._cnn import cnn
from symmerge_jax.networks._evaluate import (
    classification_loss,
    classifier_inputs,
    evaluate_classifier,
    to_unit_range,
)
from symmerge_jax.networks._mlp import ACTIVATIONS, mlp
from symmerge_jax.networks._network import Network
from symmerge_jax.networks._residual_mlp import residual_mlp
from symmerge_jax.networks._sine import sin_cos_turns, sine
from symmerge_jax.networks._siren import coordinate_grid, siren

__all__ = [
    "ACTIVATIONS",
    "DECISIVE",
    "KINDS",
    "Network",
    "build",
    "classification_loss",
    "classifier_inputs",
    "cnn",
    "coordinate_grid",
    "evaluate_classifier",
    "map_batches",
    "mlp",
    "population_logits",
    "render",
    "residual_mlp",
    "sin_cos_turns",
    "sine",
    "siren",
    "to_unit_range",
    "undecided",
]
