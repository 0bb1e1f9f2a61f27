"""Loss and accuracy of classifiers, and what they read of images."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from symmerge_jax.typing import Array, Params


def evaluate_classifier(
    apply: Callable[[Params, Array], Array],
    params: Params,
    inputs: Array,
    labels: Array,
    *,
    batch_size: int = 1000,
) -> dict[str, Array]:
    """Return the mean cross-entropy and accuracy of one classifier.

    Args:
      apply: `apply(params, inputs) -> [S, C]` logits.
      params: parameters of one network.
      inputs: `[S, ...]` examples.
      labels: `[S]` classes.
      batch_size: examples at a time, which bounds the memory.

    Returns:
      `loss` in nats and `accuracy` in [0, 1], scalars.
    """
    size = min(batch_size, len(inputs))
    whole = len(inputs) // size * size

    def total(part):
        loss, accuracy = classification_loss(apply, params, *part)
        return jnp.stack([loss, accuracy]) * len(part[0])

    parts = [x[:whole].reshape(-1, size, *x.shape[1:]) for x in (inputs, labels)]
    sums = jnp.sum(lax.map(total, tuple(parts)), axis=0)
    if whole < len(inputs):
        sums = sums + total((inputs[whole:], labels[whole:]))
    loss, accuracy = sums / len(inputs)
    return {"loss": loss, "accuracy": accuracy}


def classification_loss(
    apply: Callable[[Params, Array], Array],
    params: Params,
    inputs: Array,
    labels: Array,
) -> tuple[Array, Array]:
    """Return the mean cross-entropy in nats and the accuracy, all inputs at once.

    Args:
      apply: see `evaluate_classifier`, as all others.
      params: parameters of one network.
      inputs: `[S, ...]` examples.
      labels: `[S]` classes.

    Returns:
      Two scalars.
    """
    logits = apply(params, inputs)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(loss), jnp.mean(jnp.argmax(logits, axis=-1) == labels)


def classifier_inputs(
    images: np.ndarray, input_shape: Sequence[int] | None = None
) -> np.ndarray:
    """Return grey images as what a classifier reads.

    Args:
      images: `[S, H, W]`, uint8 in 0..255 or float32 in [0, 1].
      input_shape: that of the network: `(H, W, 1)`, also if None, or `(H * W,)` for
        the pixels row by row.

    Returns:
      `[S, *input_shape]` float32 in [-1, 1].

    Raises:
      ValueError: another shape.
    """
    height, width = images.shape[1:]
    whole, flat = (height, width, 1), (height * width,)
    shape = whole if input_shape is None else tuple(input_shape)
    if shape not in (whole, flat):
        raise ValueError(
            f"A network that reads inputs of shape {shape} cannot read images of"
            f" {height} x {width} pixels, which have the shape {whole}, or {flat} row"
            " by row."
        )
    return (to_unit_range(images) * 2 - 1).reshape(-1, *shape)


def to_unit_range(images: np.ndarray) -> np.ndarray:
    """Return images as float32 in [0, 1]: uint8 divided by 255, float32 as it is."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return np.asarray(images, np.float32)
