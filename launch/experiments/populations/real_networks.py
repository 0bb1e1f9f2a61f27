"""What real networks that were trained apart are to the experiments that merge them."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from experiments.populations import _population
from symmerge_jax.typing import Params

UNLABELLED = ("given", "random", "smooth", "synthetic")
"""Values of `config.data.unlabelled`."""

Scores = dict[str, np.ndarray]
"""`accuracy` in [0, 1] with its standard error `accuracy_se` over test examples, `loss`
in nats with `loss_se`."""


class Plan(NamedTuple):
    """Networks of one architecture, and what they are for.

    Attributes:
      apply: `apply(params, inputs) -> outputs`, for any number of inputs.
      load: `load(folder)` returns the parameters of every network, trained in that
        folder, or read.
      names: what the networks are called.
      example: a few small inputs, on which functions are proven to be kept.
      unlabelled: inputs `[S, ...]` for methods that use data.
      is_synthetic: whether they are what `merging.synthesize` sets out from, instead.
      test: examples for the score alone.
      score: `score(log_probabilities, targets)`; classes are the last axis.
      score_name: what `accuracy` is.
      batch_size: inputs that are evaluated at once.
      sizes: how many networks are merged into one.
      has_statistics: whether parameters hold running statistics of data.
      wider: `wider(share)` returns the module whose layers have so many more neurons,
        as a share; None where there is none.
    """

    apply: Callable[[Params, Any], Any]
    load: Callable[[pathlib.Path], Sequence[Params]]
    names: tuple[str, ...]
    example: np.ndarray
    unlabelled: np.ndarray
    is_synthetic: bool
    test: _population.Examples
    score: Callable[[np.ndarray, np.ndarray], Scores]
    score_name: str
    batch_size: int
    sizes: tuple[int, ...]
    has_statistics: bool
    wider: Callable[[float], nn.Module] | None


def score_classes(log_probabilities: np.ndarray, targets: np.ndarray) -> Scores:
    """Return accuracy and cross-entropy of `[S, C]` log-probabilities."""
    hits = log_probabilities.argmax(axis=-1) == targets
    losses = cross_entropies(log_probabilities, targets)
    num = len(targets)
    found = {
        "accuracy": hits.mean(),
        "accuracy_se": hits.std() / num**0.5,
        "loss": losses.mean(),
        "loss_se": losses.std() / num**0.5,
    }
    return {name: np.asarray(value, float) for name, value in found.items()}


def cross_entropies(log_probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return minus the log-probability of the right class, for every target."""
    rows = targets[..., None].astype(np.int64)
    return -np.take_along_axis(log_probabilities, rows, axis=-1)[..., 0]
