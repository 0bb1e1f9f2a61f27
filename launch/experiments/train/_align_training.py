"""The training of a matcher, as the config of learned alignment describes it."""

from collections.abc import Mapping
from typing import Any

from experiments import harness
from experiments.populations import _align_population
from experiments.train import _training
from symmerge_jax import deep_align, learning, metanets, symmetry
from symmerge_jax.typing import Key, Params

MODELS = ("deep_align", "ours")
"""Matchers that a run trains, each described by the config group of its name."""

KINDS = {"deep_align": "deep_weight_space", "ours": "probes"}
"""What they read neurons by, unless the config says otherwise."""

BEST = "val/loss"
"""Mean task loss at the midpoints of validation pairs, by which the best is kept."""

_PROBES = {"num_probes": 64, "feature_size": 64, "width": 128, "num_rounds": 0}


def default_features(kind: str) -> dict[str, Any]:
    """Return the options of a kind of features, with their defaults.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in deep_align.FEATURES:
        raise ValueError(
            f"Features are of kind {kind!r}, known are {deep_align.FEATURES}."
        )
    if kind == "probes":
        return {"kind": kind, **_PROBES}
    known = metanets.encoder_keys(kind)
    options = _training.default_options()["encoder"]
    unread = {"latent_size", "num_probes"}
    kept = {k: v for k, v in options.items() if k in known and k not in unread}
    return kept | {"kind": kind, "num_rounds": 0}


def default_options(kind: str) -> harness.ConfigDict:
    """Return the keys of one matcher: its features, losses and training.

    `losses` are weights of the three of Navon et al. 2024, published: all 1. The others
    are those of every training run here; `batch_size` counts pairs, `inputs_per_pair`
    the examples of the task that each sees in a step.
    """
    return harness.ConfigDict(
        {
            "features": default_features(kind),
            "losses": {"supervised": 1.0, "alignment": 1.0, "task": 1.0},
            **_training.fit_keys(),
            "batch_size": 32,
            "inputs_per_pair": 32,
        }
    )


def make_matcher(
    config: harness.Config,
    name: str,
    population: _align_population.Population,
    architecture: Mapping[str, Any] | None = None,
) -> deep_align.Matcher:
    """Return the matcher of a config group that is trained on a population.

    Args:
      config: keys of `deep_align.default_config`.
      name: one of `MODELS`.
      population: of training.
      architecture: of the networks that it compares, if it is not that of training.

    Raises:
      ValueError: an unknown option of the features, or an architecture that differs in
        more than the widths of hidden layers.
    """
    untrained = _untrained(config, name, population)
    return untrained.aligner(architecture=architecture).matcher


def features(config: harness.Config, name: str) -> dict[str, Any]:
    """Return what `deep_align.build` takes as features."""
    found = config[name].features.to_dict()
    return {key: value for key, value in found.items() if value is not None}


def make_twins(
    config: harness.Config, matcher: deep_align.Matcher, params_batch: Params, key: Key
) -> tuple[Params, symmetry.GroupElement]:
    """Return changed copies of `[N]` networks, moved, and what moves them back."""
    spec, options = matcher.network.spec, copy_options(config)
    return learning.moved_copies(
        key, params_batch, spec, options, signed=matcher.signed
    )


def copy_options(config: harness.Config) -> learning.CopyOptions:
    """Return how the copies differ, by the keys `augment` and `distort`."""
    return learning.CopyOptions(**config.augment, warp=learning.Warp(**config.distort))


def make_job(
    config: harness.Config, name: str, population: _align_population.Population
) -> learning.Job:
    """Return the training of the matcher of a config group.

    Args:
      config: keys of `deep_align.default_config`.
      name: one of `MODELS`.
      population: of training.

    Raises:
      ValueError: values out of range, or options that do not fit the networks.
    """
    data = learning.Pairable(
        params=population.params,
        parts=population.parts,
        group=population.group,
        inputs=population.train_data["inputs"],
        targets={"targets": population.train_data.get("labels"), **population.own}[
            "targets"
        ],
    )
    return learning.matcher_job(
        data,
        _untrained(config, name, population),
        weights=learning.LossWeights(**config[name].losses),
        copies=copy_options(config),
        inputs_per_pair=config[name].inputs_per_pair,
        num_val_pairs=config.num_val_pairs,
        num_val_inputs=config.num_val_inputs,
    )


def _untrained(config, name: str, population) -> deep_align.TrainedMatcher:
    return deep_align.TrainedMatcher(
        architecture=population.architecture,
        features=features(config, name),
        statistics=population.statistics,
        variables=None,
    )
