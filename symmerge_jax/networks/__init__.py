"""The networks being studied, as pure functions with their symmetry."""

from symmerge_jax.networks._build import DECISIVE, KINDS, build, undecided
from symmerge_jax.networks._cnn import cnn
from symmerge_jax.networks._mlp import ACTIVATIONS, mlp
from symmerge_jax.networks._network import Network
from symmerge_jax.networks._residual_mlp import residual_mlp
from symmerge_jax.networks._siren import coordinate_grid, siren

__all__ = [
    "ACTIVATIONS",
    "DECISIVE",
    "KINDS",
    "Network",
    "build",
    "cnn",
    "coordinate_grid",
    "mlp",
    "residual_mlp",
    "siren",
    "undecided",
]
