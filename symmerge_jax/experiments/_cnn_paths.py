"""Accuracy and loss of CNNs, and of all networks on the straight lines between them."""

import functools
from typing import Any

import jax
import numpy as np

from symmerge_jax import merging, networks, zoo
from symmerge_jax.experiments import _cnn_repair
from symmerge_jax.typing import Array, Params

_BATCH_SIZE = 250
"""Images at a time, whose activations stay in the cache of a CPU."""


class Evaluator:
    """Measures many networks of one architecture on the same images.

    Programs are compiled once for each repair and number of points.
    """

    def __init__(
        self,
        network: networks.Network,
        inputs: np.ndarray,
        labels: np.ndarray,
        repair_inputs: np.ndarray,
    ):
        """Take the images.

        Args:
          network: the architecture.
          inputs: `[S, H, W, C]` images to evaluate on.
          labels: `[S]` their classes.
          repair_inputs: `[S', H, W, C]` training images for repairs.
        """
        self._network = network
        self._data = jax.device_put(
            {"inputs": inputs, "labels": labels, "repair": repair_inputs}
        )
        self._losses = {
            kind: functools.partial(_losses, network, kind)
            for kind in _cnn_repair.REPAIRS
        }
        # Networks follow each other on a CPU, where side by side none would stay in
        # the cache.
        on_cpu = jax.default_backend() == "cpu"
        self._num_at_once = 1 if on_cpu else 64
        self._moments = jax.jit(self._map(functools.partial(_moments, network)))
        self._alone = {
            kind: jax.jit(self._map(losses)) for kind, losses in self._losses.items()
        }

    def moments(self, params: Params) -> dict[str, Any]:
        """Return `_cnn_repair.moments` of networks `[N, ...]`."""
        return jax.device_get(self._moments(params, self._data))

    def measure(
        self, params: Params, target: Any, repair: str
    ) -> dict[str, np.ndarray]:
        """Return `loss` (nats) and `accuracy` in [0, 1], `[N]` each.

        Args:
          params: networks `[N, ...]`.
          target: their moments `[N, ...]` after the repair.
          repair: a key of `_cnn_repair.REPAIRS`.
        """
        points = {"params": params, "target": target}
        return _accuracies(self._alone[repair](points, self._data))

    def measure_paths(
        self, ends: tuple[Any, Any], targets: tuple[Any, Any], num_points: int,
        repair: str,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Return `loss` and `accuracy` `[N, num_points]` on the way from a to b.

        Args:
          ends: networks `[N, ...]` at both ends.
          targets: their moments `[N, ...]`, which are interpolated too.
          num_points: points of each path.
          repair: a key of `_cnn_repair.REPAIRS`.
        """
        a, b = (
            {"params": params, "target": target}
            for params, target in zip(ends, targets, strict=True)
        )
        found = merging.loss_barrier(
            self._losses[repair],
            a,
            b,
            num_points,
            data=self._data,
            num_batch_axes=1,
            batch_size=self._num_at_once,
        )
        return _accuracies(found.losses)

    def _map(self, function):
        """Lift `function(row, data)` to rows `[N, ...]`."""

        def mapped(rows, data):
            one = lambda row: function(row, data)  # noqa: E731
            return jax.lax.map(one, rows, batch_size=self._num_at_once)

        return mapped


def _losses(
    network: networks.Network, repair: str, point: Any, data: Any
) -> dict[str, Array]:
    """Return loss and error rate of one network, after the repair."""
    params = _cnn_repair.repaired(
        network, point["params"], point["target"], data["repair"], repair
    )
    found = zoo.evaluate_classifier(
        network.apply, params, data["inputs"], data["labels"], batch_size=_BATCH_SIZE
    )
    return {"loss": found["loss"], "error": 1 - found["accuracy"]}


def _moments(network: networks.Network, params: Params, data: Any) -> Any:
    return _cnn_repair.moments(network, params, data["repair"])


def _accuracies(losses: Any) -> dict[str, np.ndarray]:
    losses = jax.device_get(losses)
    return {"loss": losses["loss"], "accuracy": 1 - losses["error"]}
