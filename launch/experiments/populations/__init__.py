"""Populations: zoos of networks, divided, and the tasks they are measured on."""

from experiments.populations._image_splits import data_keys
from experiments.populations._inr_tasks import (
    find_images,
    fine_grid,
    render_all,
    true_images,
)
from experiments.populations._population import Population, split
from experiments.populations._sources import (
    Source,
    classifier_source,
    inr_source,
    parts_of,
)

__all__ = [
    "Population",
    "Source",
    "classifier_source",
    "data_keys",
    "find_images",
    "fine_grid",
    "inr_source",
    "parts_of",
    "render_all",
    "split",
    "true_images",
]
