"""What is stored: checkpoints of all formats, and trained models in a folder."""

from symmerge_jax.storage._checkpoint import Checkpoint
from symmerge_jax.storage._formats import (
    check_target,
    open_checkpoint,
    write_checkpoint,
)
from symmerge_jax.storage._models import ModelFormat, load_model, save_model
from symmerge_jax.storage._specs import load_spec, save_spec
from symmerge_jax.storage._weights import load, load_architecture, save

__all__ = [
    "Checkpoint",
    "ModelFormat",
    "check_target",
    "load",
    "load_architecture",
    "load_model",
    "load_spec",
    "open_checkpoint",
    "save",
    "save_model",
    "save_spec",
    "write_checkpoint",
]
