"""Populations: zoos of networks, divided, and the tasks they are measured on."""

from experiments.populations._image_splits import (
    classifier_task,
    data_keys,
    load_splits,
)
from experiments.populations._inr_tasks import (
    find_images,
    fine_grid,
    inr_task,
    render_all,
    true_images,
)
from experiments.populations._population import (
    Examples,
    Population,
    Task,
    population,
    split,
)
from experiments.populations._sources import (
    Source,
    classifier_source,
    inr_source,
    parts_of,
)

__all__ = [
    "Examples",
    "Population",
    "Source",
    "Task",
    "classifier_source",
    "classifier_task",
    "data_keys",
    "find_images",
    "fine_grid",
    "inr_source",
    "inr_task",
    "load_splits",
    "parts_of",
    "population",
    "render_all",
    "split",
    "true_images",
]
