"""What is stored: weights of networks in one file, trained models in a folder."""

from symmerge_jax.storage._models import ModelFormat, load_model, save_model
from symmerge_jax.storage._weights import load, load_architecture, save

__all__ = [
    "ModelFormat",
    "load",
    "load_architecture",
    "load_model",
    "save",
    "save_model",
]
