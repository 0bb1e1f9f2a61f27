"""What a predictor is judged by, beside its own measures."""

import functools
from typing import Any

import jax
import numpy as np

import symmerge_jax
from experiments import harness
from experiments.harness import _published
from experiments.train import (
    _autoencoder_fit,
    _classifier_evaluation,
    _inr_evaluation,
    _predict_training,
)
from symmerge_jax import autoencoders, symmetry, zoo
from symmerge_jax.typing import Params

_PREFIX = {"mnist": "mnist_", "fashion_mnist": "fashion_"}
"""How the published numbers of a source of images are called."""

_ON = {
    "label": "published: on the INRs of Navon et al. 2023, 55,000 to train on",
    "accuracy": (
        "published: on the Small CNN Zoo, CIFAR-10 in grey, about 6,000 networks of"
        " each activation to train on"
    ),
}


def twins(
    config: harness.Config,
    predict: Any,
    spec: symmetry.SymmetrySpec,
    params_batch: Params,
    outputs: np.ndarray,
    targets: np.ndarray,
) -> dict[str, float]:
    """Replace every network by a random twin and measure again.

    Args:
      config: with the task.
      predict: from networks to outputs.
      spec: their symmetry.
      params_batch: `[N]` networks.
      outputs: `[N, C]` what is predicted of them.
      targets: `[N]` classes or accuracies.

    Returns:
      `NAME_of_twins` for the first measure of the task, and `twin_change`: the largest
      difference between the outputs of a network and of its twin, in standard
      deviations of outputs. An encoder that is invariant changes nothing.
    """

    make_twins = jax.jit(functools.partial(_autoencoder_fit.random_twins, spec=spec))
    others = np.asarray(predict(make_twins(jax.random.key(config.seed), params_batch)))
    name, value = next(
        iter(_predict_training.measures(config, others, targets).items())
    )
    change = np.abs(others - outputs).max() / max(float(outputs.std()), 1e-12)
    return {f"{name}_of_twins": value, "twin_change": float(change)}


def baselines(
    config: harness.Config, train: zoo.Zoo, test: zoo.Zoo, spec: symmetry.SymmetrySpec
) -> dict[str, float]:
    """Predict without a network that reads weights.

    Returns:
      For labels `probe_canonical` and `probe_weights`, accuracies of logistic
      regression on weights in closed canonical form and on raw ones; for accuracies
      those of `_classifier_evaluation.accuracy_baselines`.
    """
    if config.task == "accuracy":
        return _classifier_evaluation.accuracy_baselines(train, test)
    closed_form = functools.partial(symmerge_jax.canonicalize, spec=spec)
    found = {}
    for name, form in (("canonical", closed_form), ("weights", lambda params: params)):
        found[f"probe_{name}"] = _inr_evaluation.linear_probe(
            _inr_evaluation.flat(form(train.params)),
            np.asarray(train.labels),
            _inr_evaluation.flat(form(test.params)),
            np.asarray(test.labels),
        )
    return found


def published(config: harness.Config, data: zoo.Zoo) -> dict[str, Any]:
    """Return what others have published for the task, with sources.

    Returns:
      `on`, the networks that it was measured on, and `numbers`: a list of `quantity`,
      `value` and `source`. Empty for images that nothing was published for.
    """
    prefix: str | None = "tau_"
    if config.task == "label":
        source = str(data.provenance.get("source", "")).partition("/")[0]
        prefix = _PREFIX.get(source)
    if prefix is None:
        return {}
    numbers = [
        {"quantity": entry.quantity, "value": entry.value, "source": entry.source}
        for entry in _published.PREDICTION
        if entry.key.startswith(prefix)
    ]
    return {"on": _ON[config.task], "numbers": numbers}


def confusion(predicted: np.ndarray, targets: np.ndarray, num: int) -> np.ndarray:
    """Return counts `[C, C]`, row the true class, column the predicted one."""
    counts = np.zeros((num, num), int)
    np.add.at(counts, (targets, predicted), 1)
    return counts


def predict_all(
    model: autoencoders.Predictor, variables: Any, params_batch: Params
) -> np.ndarray:
    """Return the outputs `[N, C]` of many networks."""
    run = functools.partial(jax.jit(model.predict), variables)
    return autoencoders.map_batches(run, params_batch, 64)
