"""Pairs of networks that a matcher is trained on, and their task."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks, zoo
from symmerge_jax.learning import _autoencoder
from symmerge_jax.typing import Params


class Pairable(NamedTuple):
    """Networks to be paired, and what they are to do.

    Attributes:
      params: `[N]` networks.
      parts: rows of those to train and to validate on, "train" and "val".
      group: `[N]`, networks of one number may be paired; None if all may.
      inputs: `[S, ...]` inputs of the task.
      targets: `[S]` classes, or `[N, S, O]` values of each network.
    """

    params: Params
    parts: _autoencoder.Parts
    group: np.ndarray | None
    inputs: np.ndarray
    targets: np.ndarray

    def examples(
        self, rows: np.ndarray, num: int, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Return random inputs and targets `[N, num, ...]` of the networks in rows."""
        num_all = len(self.inputs)
        chosen = random.integers(num_all, size=(len(rows), min(num, num_all)))
        own = self.targets.ndim > 1
        where = (rows[:, None], chosen) if own else chosen
        return {"inputs": self.inputs[chosen], "targets": self.targets[where]}

    def pairs(self, part: str, num: int, seed: Sequence[int]) -> np.ndarray:
        """Return random pairs `[num, 2]` of rows of a part that may be paired.

        No pair is drawn twice, in either order, unless there are fewer than `num`: then
        each comes once.
        """
        rows = self.parts[part]
        if self.group is None:
            first, second = np.triu_indices(len(rows), 1)
        else:
            group = self.group[rows]
            first, second = np.nonzero(np.triu(group[:, None] == group[None], 1))
        pairs = np.stack([rows[first], rows[second]], axis=1)
        random = np.random.default_rng(seed)
        pairs = pairs[random.permutation(len(pairs))[:num]]
        return random.permuted(pairs, axis=1)

    def partner(self, random: np.random.Generator, row: Any) -> Any:
        """Return a random training network that a row may be paired with."""
        others = self.parts["train"]
        if self.group is not None:
            others = others[self.group[others] == self.group[row]]
        others = others[others != row]
        return random.choice(others) if len(others) else row


def task_losses(network: networks.Network, params: Params, data: Any) -> dict:
    """Return the losses of one network on examples, as scalars.

    Args:
      network: its architecture.
      params: its parameters.
      data: `inputs` `[S, ...]` and `targets`: `[S]` classes, or `[S, O]` values.

    Returns:
      Of classes `loss`, the cross-entropy in nats, and `error`, the rate of errors; of
      values `loss`, the mean squared error.
    """
    inputs, targets = data["inputs"], data["targets"]
    if targets.ndim > 1:
        return {"loss": jnp.mean((network.apply(params, inputs) - targets) ** 2)}
    found = networks.evaluate_classifier(
        network.apply, params, inputs, targets, batch_size=250
    )
    return {"loss": found["loss"], "error": 1 - found["accuracy"]}


def image_groups(inrs: zoo.Zoo) -> np.ndarray:
    """Return a number `[N]` that two networks share if they draw the same image."""
    identity = np.stack([inrs.subset_index, inrs.image_index], axis=1)
    return np.unique(identity, axis=0, return_inverse=True)[1]


def inr_targets(inrs: zoo.Zoo) -> tuple[np.ndarray, np.ndarray]:
    """Return where INRs draw, and what each of them should draw.

    The task loss of network `n` is the mean of `(network.apply(params, grid) -
    values[n])^2`.

    Args:
      inrs: a zoo with images or signals, `S` pixels or samples each.

    Returns:
      The grid `[S, I]` of coordinates in [-1, 1] and the values `[N, S, 1]` in [0, 1],
      both float32.

    Raises:
      ValueError: a zoo that has no images.
    """
    if inrs.images is None or inrs.image_row is None:
        raise ValueError(
            "The zoo has no images, so that it is not known what its networks should"
            " draw: imported zoos have none. Fit one with zoo.generate_siren_zoo."
        )
    images = networks.to_unit_range(np.asarray(inrs.images)[inrs.image_row])
    grid = networks.coordinate_grid(*images.shape[1:])
    return grid, images.reshape(len(images), len(grid), 1)
