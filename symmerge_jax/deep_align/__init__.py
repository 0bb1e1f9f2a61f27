"""Deep-Align: networks that have learned to align networks."""

from symmerge_jax.deep_align._aligner import DeepAlign
from symmerge_jax.deep_align._augment import perturb_weights
from symmerge_jax.deep_align._build import FEATURES, build
from symmerge_jax.deep_align._files import (
    TrainedMatcher,
    load_matcher,
    save_matcher,
)
from symmerge_jax.deep_align._losses import (
    alignment_loss,
    move_softly,
    supervised_loss,
    task_loss,
)
from symmerge_jax.deep_align._matcher import Matcher, matcher, nearest_element
from symmerge_jax.deep_align._probe_features import ProbeFeatures
from symmerge_jax.deep_align._refine import refined

__all__ = [
    "FEATURES",
    "DeepAlign",
    "Matcher",
    "ProbeFeatures",
    "TrainedMatcher",
    "alignment_loss",
    "build",
    "load_matcher",
    "matcher",
    "move_softly",
    "nearest_element",
    "perturb_weights",
    "refined",
    "save_matcher",
    "supervised_loss",
    "task_loss",
]
