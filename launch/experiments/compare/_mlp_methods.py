"""The methods that the merging experiment compares, by name."""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments import harness
from experiments.compare import _old_methods as _methods
from symmerge_jax import alignment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring one network onto another.

    Attributes:
      label: name in tables and figures.
      uses_data: whether it sees the training data, beyond the weights.
      make: the solver for the options of the method, or None to leave networks alone.
    """

    label: str
    uses_data: bool
    make: Callable[..., alignment.Aligner] | None


def _sinkhorn(**options) -> alignment.Aligner:
    return alignment.SinkhornRebasin(init=alignment.WeightMatching(), **options)


METHODS = {
    "naive": Method(label="naive", uses_data=False, make=None),
    "weight_matching_identity": Method(
        label="weight matching (published)",
        uses_data=False,
        make=lambda: _methods.PUBLISHED,
    ),
    "weight_matching": Method(
        label="weight matching (scales, best start)",
        uses_data=False,
        make=alignment.WeightMatching,
    ),
    "frank_wolfe": Method(
        label="Frank-Wolfe", uses_data=False, make=alignment.FrankWolfe
    ),
    "activation_matching": Method(
        label="activation matching", uses_data=True, make=alignment.ActivationMatching
    ),
    "sinkhorn_rebasin": Method(
        label="Sinkhorn re-basin", uses_data=True, make=_sinkhorn
    ),
    "straight_through": Method(
        label="straight-through", uses_data=True, make=alignment.StraightThrough
    ),
}
"""Every method, data-free ones first; options are config groups of the same name."""

OPTIONS: dict[str, dict[str, Any]] = {
    "weight_matching": {"num_random_starts": 8, "max_sweeps": 100},
    "activation_matching": {"similarity": "correlation", "scales": "weights"},
    "sinkhorn_rebasin": {
        "cost": "midpoint",
        "num_steps": 300,
        "learning_rate": 0.3,
        "batch_size": 500,
        "eval_size": 5000,
        "eval_every": 20,
    },
    "straight_through": {
        "num_steps": 400,
        "learning_rate": 0.1,
        "batch_size": 500,
        "eval_size": 5000,
        "eval_every": 20,
    },
}
"""Defaults of the options that a config may change: keywords of the solver."""


def make(name: str, config: harness.Config) -> alignment.Aligner | None:
    """Return the solver of a method with the options of the config.

    Args:
      name: a key of `METHODS`.
      config: has a group for every key of `OPTIONS`.

    Returns:
      The solver, or None for the method that moves nothing.

    Raises:
      ValueError: an unknown name, or an option out of its range.
    """
    if name not in METHODS:
        raise ValueError(
            f"config.methods has {name!r}, known are {', '.join(METHODS)}."
        )
    if (maker := METHODS[name].make) is None:
        return None
    return maker(**options_of(name, config))


def options_of(name: str, config: harness.Config) -> dict[str, Any]:
    """Return the options that the config has for a method, as plain values."""
    return harness.plain_config(config)[name] if name in OPTIONS else {}
