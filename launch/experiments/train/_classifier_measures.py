"""Measures of a trained autoencoder of classifiers, and baselines beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.train import _measures
from symmerge_jax import autoencoders, learning, networks, symmetry, zoo
from symmerge_jax.typing import Params

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


Compare = Callable[[np.ndarray, Params], dict[str, np.ndarray]]
"""From latents `[N, D]` and networks to measures `[N]`, see `comparison`."""


def comparison(
    canonicalizer: autoencoders.Canonicalizer,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    temperature: float,
) -> Compare:
    """Return a function that decodes latents and compares them with the networks.

    Args:
      canonicalizer: the trained autoencoder.
      inputs: `[S, ...]` images.
      labels: `[S]` classes.
      temperature: of the divergence.

    Returns:
      From latents and networks to `[N]` each: `accuracy` of the decoded network and
      `accuracy_original`, `agreement`, the share of images that both put into one
      class, and `kl`, the divergence that is trained for, in nats.
    """
    model, variables = canonicalizer.autoencoder, canonicalizer.variables
    points, classes = jnp.asarray(inputs), jnp.asarray(labels)

    @jax.jit
    def measure(batch):
        decoded = model.decode(variables, batch["latents"])
        before, after = (
            networks.population_logits(model.network, params, points)
            for params in (batch["params"], decoded)
        )
        old, new = jnp.argmax(before, axis=-1), jnp.argmax(after, axis=-1)
        return {
            "accuracy": jnp.mean(new == classes[None], axis=1),
            "accuracy_original": jnp.mean(old == classes[None], axis=1),
            "agreement": jnp.mean(new == old, axis=1),
            "kl": autoencoders.distillation_loss(
                after, before, temperature=temperature
            ),
        }

    def compare(latents, params_batch):
        batch = {"latents": np.asarray(latents), "params": params_batch}
        return networks.map_batches(measure, batch, 32)

    return compare


def summary(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Return numbers over networks from the measures of `comparison`.

    Returns:
      Means of the measures; `accuracy_l1`, `accuracy_r2` (the share of the variance of
      the original accuracies that the decoded ones explain) and `accuracy_tau`
      (Kendall) between decoded and original accuracies; and for the half of the
      networks with the higher original accuracy `top_kept`, the mean of decoded over
      original accuracy.
    """
    after, before = found["accuracy"], found["accuracy_original"]
    top = before >= np.median(before)
    spread = np.sum((before - before.mean()) ** 2)
    return {
        **{name: float(values.mean()) for name, values in found.items()},
        "accuracy_l1": float(np.abs(after - before).mean()),
        "accuracy_r2": float(1 - np.sum((after - before) ** 2) / spread),
        "accuracy_tau": learning.kendall_tau(after, before),
        "top_kept": float(np.mean(after[top] / before[top])),
    }


def baselines(
    canonicalizer: autoencoders.Canonicalizer,
    mean: np.ndarray,
    test: Params,
    compare: Compare,
) -> dict[str, float]:
    """Measure decoding without knowing the network, or without a part of its latent.

    A decoder that always gave one good network would keep accuracies well: what it
    lacks is agreement with the network at hand.

    Args:
      canonicalizer: the trained autoencoder.
      mean: `[D]` mean latent of the training networks.
      test: `[N]` networks that were not trained on.
      compare: from `comparison`.

    Returns:
      `kl_NAME`, `agreement_NAME` and `accuracy_NAME`, with NAME `mean_latent`, or
      `without_KIND` with one part of the latent frozen to its mean.
    """
    count = len(jax.tree.leaves(test)[0])
    others = _measures.frozen_latents(canonicalizer, test)
    latents = {"mean_latent": np.broadcast_to(mean, (count, *mean.shape))}
    latents |= {f"without_{name}": value for name, value in others.items()}
    return {
        f"{key}_{name}": float(measures[key].mean())
        for name, values in latents.items()
        for measures in [compare(values, test)]
        for key in ("kl", "agreement", "accuracy")
    }


def predict_accuracy(
    train: zoo.Zoo,
    test: zoo.Zoo,
    train_latents: np.ndarray,
    test_latents: np.ndarray,
) -> dict[str, float]:
    """Predict test accuracies from the weights alone (Unterthiner et al. 2020).

    Returns:
      Kendall's tau on `test`, from latents `[N, D]` (`tau_latent`), and as
      `accuracy_baselines`.
    """
    latents = {"latent": (train_latents, test_latents)}
    return _regress(train, test, latents) | accuracy_baselines(train, test)


def accuracy_baselines(train: zoo.Zoo, test: zoo.Zoo) -> dict[str, float]:
    """Predict test accuracies without a network that reads weights.

    Returns:
      Kendall's tau on `test`, from mean, variance and quantiles of every tensor
      (`tau_statistics`, the published baseline), from weights in closed canonical form
      (`tau_canonical`) and raw ones (`tau_weights`).
    """
    spec = networks.build(train.architecture).spec
    zoos = train, test
    closed = [_measures.closed_forms(part.params, spec) for part in zoos]
    features = {
        "statistics": [tensor_statistics(part.params) for part in zoos],
        "canonical": [_measures.flat(params) for params in closed],
        "weights": [_measures.flat(part.params) for part in zoos],
    }
    return _regress(train, test, features)


def _regress(train: zoo.Zoo, test: zoo.Zoo, features: Any) -> dict[str, float]:
    """Return tau on `test` by name of the features of both.

    Support-vector regression of the quantiles of the accuracy, fitted to the training
    networks.
    """
    from sklearn import compose, pipeline, preprocessing, svm

    taus = {}
    for name, (seen, others) in features.items():
        model = compose.TransformedTargetRegressor(
            pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVR()),
            transformer=preprocessing.QuantileTransformer(
                n_quantiles=min(100, len(train)), output_distribution="normal"
            ),
        )
        model.fit(seen, train.metrics["test_accuracy"])
        predicted = model.predict(others)
        taus[f"tau_{name}"] = learning.kendall_tau(
            predicted, test.metrics["test_accuracy"]
        )
    return taus


def tensor_statistics(params_batch: Params) -> np.ndarray:
    """Return mean, variance and five quantiles of every tensor, `[N, 7 * tensors]`."""
    columns = []
    for leaf in symmetry.flatten(params_batch).values():
        rows = np.asarray(leaf).reshape(len(leaf), -1)
        columns += [rows.mean(axis=1), rows.var(axis=1)]
        columns += list(np.quantile(rows, QUANTILES, axis=1))
    return np.stack(columns, axis=1)
