"""Train models that read weights, measure them, and open finished runs again."""

from experiments.train._measures import closed_forms, flat, linear_probe
from experiments.train._trained import Compared, TrainedRun, file_name, open_runs
from experiments.train._training import num_parameters

__all__ = [
    "Compared",
    "TrainedRun",
    "closed_forms",
    "file_name",
    "flat",
    "linear_probe",
    "num_parameters",
    "open_runs",
]
