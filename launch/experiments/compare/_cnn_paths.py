"""Accuracy and loss of CNNs, and of all networks on the straight lines between them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.compare import _cnn_repair
from symmerge_jax import merging, networks
from symmerge_jax.typing import Array, Params

_BATCH_SIZE = 250
"""Images at a time, whose activations stay in the cache of a CPU."""


class Evaluator(NamedTuple):
    """Measures many networks of one architecture on the same images.

    Attributes:
      moments: `moments(params) -> ...`, `_cnn_repair.moments` of networks `[N, ...]`.
      measure: `measure(params, target, repair) -> {"loss": [N], "accuracy": [N]}` of
        networks `[N, ...]`, in nats and in [0, 1], brought to the moments `target`
        `[N, ...]` by a key of `_cnn_repair.REPAIRS`.
      measure_paths: `measure_paths(ends, targets, num_points, repair)` gives the same,
        `[N, num_points]`, of all networks between the pair of ends; the targets of both
        ends are interpolated too.
    """

    moments: Callable[[Params], dict[str, Any]]
    measure: Callable[[Params, Any, str], dict[str, np.ndarray]]
    measure_paths: Callable[
        [tuple[Params, Params], tuple[Any, Any], int, str], dict[str, np.ndarray]
    ]


def evaluator(
    network: networks.Network,
    inputs: np.ndarray,
    labels: np.ndarray,
    repair_inputs: np.ndarray,
) -> Evaluator:
    """Return an evaluator, whose programs are compiled once for each repair.

    Args:
      network: the architecture.
      inputs: `[S, H, W, C]` images to evaluate on.
      labels: `[S]` their classes.
      repair_inputs: `[S', H, W, C]` training images for repairs.

    Returns:
      The evaluator.
    """
    data = jax.device_put({"inputs": inputs, "labels": labels, "repair": repair_inputs})
    # Networks follow each other on a CPU, where side by side none would stay in the
    # cache.
    batch_size = 1 if jax.default_backend() == "cpu" else 64

    def lift(function):
        """Lift `function(row, data)` to rows `[N, ...]`."""

        def lifted(rows, data):
            one = lambda row: function(row, data)  # noqa: E731
            return jax.lax.map(one, rows, batch_size=batch_size)

        return jax.jit(lifted)

    losses = {
        repair: functools.partial(_losses, network, repair)
        for repair in _cnn_repair.REPAIRS
    }
    alone = {repair: lift(function) for repair, function in losses.items()}
    find_moments = lift(
        lambda params, data: _cnn_repair.moments(network, params, data["repair"])
    )

    def moments(params):
        return jax.device_get(find_moments(params, data))

    def measure(params, target, repair):
        return _accuracies(alone[repair]({"params": params, "target": target}, data))

    def measure_paths(ends, targets, num_points, repair):
        a, b = (
            {"params": params, "target": target}
            for params, target in zip(ends, targets, strict=True)
        )
        found = merging.loss_barrier(
            losses[repair],
            a,
            b,
            num_points,
            data=data,
            num_batch_axes=1,
            batch_size=batch_size,
        )
        return _accuracies(found.losses)

    return Evaluator(moments, measure, measure_paths)


def _losses(
    network: networks.Network, repair: str, point: Any, data: Any
) -> dict[str, Array]:
    """Return loss and error rate of one network, after the repair."""
    params = _cnn_repair.repaired(
        network, point["params"], point["target"], data["repair"], repair
    )
    found = networks.evaluate_classifier(
        network.apply, params, data["inputs"], data["labels"], batch_size=_BATCH_SIZE
    )
    return {"loss": found["loss"], "error": 1 - found["accuracy"]}


def _accuracies(losses: Any) -> dict[str, np.ndarray]:
    losses = jax.device_get(losses)
    return {"loss": losses["loss"], "accuracy": 1 - losses["error"]}
