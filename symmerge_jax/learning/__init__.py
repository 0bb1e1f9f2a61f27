"""Train models that read networks: canonicalisers, predictors, matchers.

`fit_canonicalizer`, `fit_predictor` and `fit_matcher` take a zoo and a folder; what
they train can be put together by hand, too: a `Job` and `fit`.
"""

from symmerge_jax.learning._canonicalizer import DECODER, ENCODER, fit_canonicalizer
from symmerge_jax.learning._distillation import distillation_job
from symmerge_jax.learning._fit import FitOptions, Job, check, fit
from symmerge_jax.learning._goals import Goal, classes, fractions, kendall_tau
from symmerge_jax.learning._matcher import (
    FEATURES,
    LossWeights,
    fit_matcher,
    matcher_job,
)
from symmerge_jax.learning._pairs import (
    Pairable,
    image_groups,
    inr_targets,
    task_losses,
)
from symmerge_jax.learning._predictor import (
    HEAD,
    TrainedPredictor,
    fit_predictor,
    load_predictor,
    predictor_job,
    save_predictor,
)
from symmerge_jax.learning._rendering import rendering_job
from symmerge_jax.learning._twins import (
    CopyOptions,
    Warp,
    moved_copies,
    orbit_spread,
    random_orbits,
    random_twins,
    transform_coordinates,
    warp_coordinates,
)

__all__ = [
    "DECODER",
    "ENCODER",
    "FEATURES",
    "HEAD",
    "CopyOptions",
    "FitOptions",
    "Goal",
    "Job",
    "LossWeights",
    "Pairable",
    "TrainedPredictor",
    "Warp",
    "check",
    "classes",
    "distillation_job",
    "fit",
    "fit_canonicalizer",
    "fit_matcher",
    "fit_predictor",
    "fractions",
    "image_groups",
    "inr_targets",
    "kendall_tau",
    "load_predictor",
    "matcher_job",
    "moved_copies",
    "orbit_spread",
    "predictor_job",
    "random_orbits",
    "random_twins",
    "rendering_job",
    "save_predictor",
    "task_losses",
    "transform_coordinates",
    "warp_coordinates",
]
