"""Plots: arrays in, matplotlib figure out."""

from symmerge_jax.plots._confusion import confusion_matrix
from symmerge_jax.plots._curves import scaling, training_curves
from symmerge_jax.plots._distances import distance_panels
from symmerge_jax.plots._images import image_rows
from symmerge_jax.plots._latents import map_panels
from symmerge_jax.plots._mean_curves import mean_curves
from symmerge_jax.plots._scatter import versus
from symmerge_jax.plots._spaces import space_diagram
from symmerge_jax.plots._style import (
    COLORS,
    Style,
    new_figure,
    save_figure,
    styled,
)

__all__ = [
    "COLORS",
    "Style",
    "confusion_matrix",
    "distance_panels",
    "image_rows",
    "map_panels",
    "mean_curves",
    "new_figure",
    "save_figure",
    "scaling",
    "space_diagram",
    "styled",
    "training_curves",
    "versus",
]
