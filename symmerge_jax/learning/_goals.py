"""What is predicted of a network: its class, or a number such as its accuracy."""

from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

from symmerge_jax.learning import _autoencoder
from symmerge_jax.typing import Array

FRACTION_LOSSES = ("bce", "mse")
"""Losses of accuracies: binary cross-entropy, as published, or squared error."""


class Goal(NamedTuple):
    """What is predicted of a network, how it is learned and measured.

    Attributes:
      kind: "classes" or "fractions".
      num_outputs: outputs `C` of the predictor.
      loss: of classes the label smoothing, in [0, 1): the cross-entropy is that of
        targets mixed with this much of the uniform distribution. Of fractions one of
        `FRACTION_LOSSES`.
      best: measure whose largest value is the best.

    Example:
      >>> goal = Goal("fractions", 1, loss="mse", best="val/tau")
      >>> outputs = np.array([[0.0], [2.0]])  # logits
      >>> goal.predictions(outputs).round(2).astype(str).tolist()
      ['0.5', '0.88']
      >>> goal.losses(outputs, np.array([0.5, 0.88])).round(4).tolist()
      [0.0, 0.0]
    """

    kind: Literal["classes", "fractions"]
    num_outputs: int
    loss: Any
    best: str

    def losses(self, outputs: Any, targets: Any) -> Array:
        """Return the loss `[N]` of outputs `[N, C]`."""
        if self.kind == "classes":
            wanted = jax.nn.one_hot(targets, outputs.shape[-1])
            wanted = optax.smooth_labels(wanted, self.loss)
            return optax.softmax_cross_entropy(outputs, wanted)
        if self.loss == "bce":
            return optax.sigmoid_binary_cross_entropy(outputs[..., 0], targets)
        return (jax.nn.sigmoid(outputs[..., 0]) - targets) ** 2

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Return classes `[N]`, or accuracies `[N]` in [0, 1]."""
        if self.kind == "classes":
            return np.argmax(outputs, axis=-1)
        return np.asarray(jax.nn.sigmoid(outputs[..., 0]))

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Measure outputs `[N, C]` against targets `[N]`.

        Returns:
          Of classes `accuracy` and `cross_entropy` (nats, of hard labels). Of
          accuracies `tau` (Kendall), `r2` (the share of the variance that is
          explained), `mae` and `loss`.
        """
        predicted = self.predictions(outputs)
        if self.kind == "classes":
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
            return {
                "accuracy": float(np.mean(predicted == targets)),
                "cross_entropy": float(np.mean(np.asarray(losses))),
            }
        spread = np.sum((targets - targets.mean()) ** 2)
        return {
            "tau": kendall_tau(predicted, targets),
            "r2": float(1 - np.sum((predicted - targets) ** 2) / spread),
            "mae": float(np.mean(np.abs(predicted - targets))),
            "loss": float(np.mean(np.asarray(self.losses(outputs, targets)))),
        }


def classes(
    labels: np.ndarray, parts: _autoencoder.Parts, *, label_smoothing: float = 0.0
) -> Goal:
    """Return the goal to predict a class.

    Args:
      labels: `[N]` classes, integers.
      parts: rows of "train" and others.
      label_smoothing: weight of the uniform distribution in the targets, in [0, 1).

    Returns:
      The goal; the best state has the highest validation accuracy.

    Raises:
      ValueError: unknown labels, or one class only.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
    if (unknown := int(np.sum(labels < 0))) > 0:
        raise ValueError(
            f"{unknown} of the {len(labels)} networks have no label, so there is no"
            " class to predict: omit them with zoo.select."
        )
    if len(present := np.unique(labels[parts["train"]])) < 2:
        raise ValueError(
            f"All training networks have the label {present[0]}: there is nothing to"
            " predict. Use a zoo of at least two classes."
        )
    return Goal("classes", int(labels.max()) + 1, label_smoothing, "val/accuracy")


def fractions(
    values: np.ndarray,
    parts: _autoencoder.Parts,
    *,
    loss: str = "bce",
    name: str = "target",
) -> Goal:
    """Return the goal to predict a number in [0, 1], such as an accuracy.

    Args:
      values: `[N]` numbers in [0, 1].
      parts: rows of "train" and others.
      loss: see `FRACTION_LOSSES`.
      name: what the values are called in messages.

    Returns:
      The goal; the best state has the highest Kendall's tau on validation networks.

    Raises:
      ValueError: an unknown loss, values out of range, or a part in which all are
        equal.
    """
    if loss not in FRACTION_LOSSES:
        raise ValueError(f"loss is {loss!r}, known are {FRACTION_LOSSES}.")
    if not (values >= 0).all() or not (values <= 1).all():
        raise ValueError(f"{name} must lie in [0, 1] for all networks.")
    for part, rows in parts.items():
        if len(np.unique(values[rows])) < 2:
            raise ValueError(
                f"All {len(rows)} networks of the part {part!r} have the same {name}:"
                " there is nothing to rank. Use a larger zoo or fraction."
            )
    return Goal("fractions", 1, loss, "val/tau")


def kendall_tau(x: np.ndarray, y: np.ndarray) -> float:
    """Return Kendall's rank correlation of two rankings; 0 if one is constant.

    Args:
      x: `[N]` numbers.
      y: `[N]` numbers.
    """
    from scipy import stats

    result: Any = stats.kendalltau(x, y)
    return float(np.nan_to_num(result.statistic))
