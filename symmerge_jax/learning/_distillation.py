"""Train an autoencoder of classifiers by the logits of the decoded network."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import autoencoders, networks, symmetry, training, zoo
from symmerge_jax.learning import _autoencoder, _fit


def distillation_job(
    classifiers: zoo.Zoo,
    parts: _autoencoder.Parts,
    images: np.ndarray,
    *,
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    val_images: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
    images_per_step: int = 128,
    temperature: float = 0.6,
    augment: bool = False,
) -> _fit.Job:
    """Return the training of an autoencoder of classifiers.

    Boufalis et al. 2025 (arXiv 2511.12601), section 5.2: the loss is the divergence of
    the classes of the decoded network from those of the original one, see
    `autoencoders.distillation_loss`. They distil on the test images.

    Args:
      classifiers: the networks.
      parts: rows of those to train and to validate on, "train" and "val".
      images: `[S, *input_shape]` inputs that are distilled on.
      encoder: see `autoencoders.build`.
      decoder: see `autoencoders.build`.
      val_images: inputs of the validation; None for the same.
      val_labels: `[S]` their classes; None leaves out measures of accuracy.
      images_per_step: random ones in each step; 0 for all.
      temperature: of the classes, > 0.
      augment: as for `rendering_job`.

    Returns:
      The job, whose result is a `Canonicalizer`; validation measures are `kl` in nats,
      `agreement`, the share of images that both networks put into one class,
      `accuracy` and `accuracy_l1`, how far it is from that of the original network.

    Raises:
      ValueError: an unknown encoder or option, or values out of range.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}.")
    if not 0 <= images_per_step <= len(images):
        raise ValueError(
            f"images_per_step must lie in 1..{len(images)}, the images that are"
            f" distilled on, or be 0 for all of them, got {images_per_step}."
        )
    train, val = _autoencoder.select(classifiers, parts)
    untrained = _autoencoder.untrained(train, encoder, decoder)
    model, points = untrained.autoencoder, jnp.asarray(images)
    network = model.network

    def loss_fn(variables, batch, key):
        decoded = _autoencoder.decode(
            model, variables, batch["params"], key, key, augment=augment
        )
        logits = networks.population_logits(network, decoded, points[batch["rows"][0]])
        losses = autoencoders.distillation_loss(
            logits, batch["logits"], temperature=temperature
        )
        return jnp.mean(losses), {}

    def batches(seed: int, batch_size: int):
        logits = _logits(network, train.params, images)
        size = images_per_step or len(images)

        def batch_fn(step: int):
            drawn = zoo.batch_indices(seed, step, batch_size, len(train))
            rows = training.own_rows(drawn)
            generator = np.random.Generator(np.random.PCG64((seed, step)))
            seen = generator.choice(len(images), size, replace=False)
            return {
                "params": symmetry.rows(train.params, rows),
                "rows": np.broadcast_to(seen.astype(np.int32), (len(rows), size)),
                "logits": logits[rows[:, None], seen[None]],
            }

        return batch_fn

    seen = images if val_images is None else val_images
    return _fit.Job(
        untrained=untrained,
        model=model,
        loss_fn=loss_fn,
        num_examples=len(train),
        batches=batches,
        evaluator=functools.partial(
            _evaluator, model, val.params, seen, val_labels, temperature
        ),
        best="val/kl",
        settings={
            "images_per_step": images_per_step,
            "temperature": temperature,
            "augment": augment,
        },
    )


def _evaluator(model, params, images, labels, temperature) -> _fit.Evaluator:
    logits = _logits(model.network, params, images)

    @jax.jit
    def measure(variables, batch):
        decoded = model.reconstruct(variables, batch["params"])
        found = networks.population_logits(model.network, decoded, images)
        losses = autoencoders.distillation_loss(
            found, batch["logits"], temperature=temperature
        )
        classes = jnp.argmax(found, axis=-1)
        agreement = jnp.mean(classes == jnp.argmax(batch["logits"], axis=-1), axis=1)
        return losses, agreement, classes

    def evaluator(state):
        run = functools.partial(measure, training.eval_params(state))
        batch = {"params": params, "logits": logits}
        losses, agreement, classes = _fit.map_rows(run, batch, 32)
        yield "kl", np.mean(losses)
        yield "agreement", np.mean(agreement)
        if labels is not None:
            original = np.mean(np.argmax(logits, -1) == labels[None], axis=1)
            accuracy = np.mean(classes == labels[None], axis=1)
            yield "accuracy", np.mean(accuracy)
            yield "accuracy_l1", np.mean(np.abs(accuracy - original))

    return evaluator


def _logits(network, params_batch, images: np.ndarray) -> np.ndarray:
    """Return the logits `[N, S, C]` of many networks on the same images."""
    points = jnp.asarray(images)
    run = jax.jit(lambda params: networks.population_logits(network, params, points))
    return _fit.map_rows(run, params_batch, 32)
