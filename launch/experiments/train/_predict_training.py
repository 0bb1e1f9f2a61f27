"""The parts of the training of a predictor: what to predict, model, loss, batches."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import harness
from experiments.populations import _inr_data
from experiments.train import _autoencoder_fit, _classifier_evaluation, _distort
from symmerge_jax import autoencoders, training, zoo

BEST = {"label": "val/accuracy", "accuracy": "val/tau"}
"""Measure on the validation networks, by task, whose highest value is the best."""

METRIC = "test_accuracy"
"""What the task "accuracy" predicts."""

LOSSES = ("bce", "mse")


class PredictData(NamedTuple):
    """Networks, divided, and what is to be predicted of each.

    Attributes:
      zoo: all networks.
      parts: numbers of the networks in "train", "val" and "test".
      statistics: mean and standard deviation per tensor over the training networks.
      targets: `[N]` int32 classes, or float32 accuracies in [0, 1].
      num_outputs: number of classes, or 1.
    """

    zoo: zoo.Zoo
    parts: dict[str, np.ndarray]
    statistics: autoencoders.Statistics
    targets: np.ndarray
    num_outputs: int


class Description(NamedTuple):
    """What a predictor is built from, beside its head.

    Attributes:
      architecture: of the networks that it reads.
      encoder: as `autoencoders.build_encoder` takes it.
      statistics: mean and standard deviation per tensor of the population that the
        encoder was first trained on.
      num_outputs: number of classes, or 1.
    """

    architecture: Any
    encoder: Any
    statistics: autoencoders.Statistics
    num_outputs: int


def check_options(config: harness.Config, defaults: harness.Config) -> None:
    """Refuse an unknown task, and keys that the task or the encoder does not read.

    Raises:
      ValueError: names the keys.
    """
    if config.task not in BEST:
        raise ValueError(f"config.task is {config.task!r}, known are {tuple(BEST)}.")
    if config.accuracy_loss not in LOSSES:
        raise ValueError(
            f"config.accuracy_loss is {config.accuracy_loss!r}, known are {LOSSES}."
        )
    if not 0 <= config.label_smoothing < 1:
        raise ValueError(
            f"config.label_smoothing must lie in [0, 1), got {config.label_smoothing}."
        )
    other = {"label": ["accuracy_loss"], "accuracy": ["label_smoothing"]}[config.task]
    harness.refuse_unused(config, defaults, other, f"task={config.task!r}")
    if config.pretrained is None:
        _autoencoder_fit.refuse_unused_encoder(config, defaults)
    else:
        because = f"pretrained={config.pretrained!r}"
        harness.refuse_unused(config, defaults, ["encoder"], because)
    if config.task == "accuracy" and config.zoo is None:
        raise ValueError(
            "config.zoo names no zoo of CNN classifiers: make one with python"
            " launch/make_zoo.py --config=launch/configs/zoo_cnn.py --out=PATH"
        )


def plan(config: harness.Config) -> PredictData | None:
    """Return the data of a config before any work: weights may still be zeros.

    Returns:
      The data; None for a folder of checkpoints, which has to be imported first.

    Raises:
      ValueError: as `load`.
      FileNotFoundError: as `load`.
    """
    planned = _inr_data.plan(config)
    return None if planned is None else _with_targets(config, planned)


def load(config: harness.Config, workdir: pathlib.Path) -> PredictData:
    """Return the networks that a config asks for, and their targets.

    Args:
      config: keys of `predict.default_config`.
      workdir: folder of the run, for the zoo that is made or imported.

    Returns:
      The data.

    Raises:
      ValueError: networks without labels or without the metric, fewer than two
        classes, accuracies that are all equal or outside [0, 1], weights that are not
        finite, or fewer networks than the split needs.
      FileNotFoundError: no such zoo, or no images.
    """
    return _with_targets(config, _inr_data.load(config, workdir))


def describe(config: harness.Config, data: PredictData) -> Description:
    """Return what the config describes for these networks.

    Raises:
      ValueError: if `config.pretrained` is an autoencoder of other networks.
      FileNotFoundError: if it has not finished.
    """
    encoder, statistics = None, data.statistics
    if config.pretrained is not None:
        trained = autoencoders.load_canonicalizer(config.pretrained)
        zoo.require_architecture(data.zoo, trained.architecture)
        encoder, statistics = trained.encoder, trained.statistics
    else:
        encoder = _autoencoder_fit.encoder_description(config)
    return Description(data.zoo.architecture, encoder, statistics, data.num_outputs)


def make_model(
    config: harness.Config, description: Description
) -> autoencoders.Predictor:
    """Return the predictor of a description, with the head of the config.

    With `config.pretrained` it starts from the encoder of that autoencoder.
    """
    encoder = autoencoders.build_encoder(
        description.architecture, description.encoder, description.statistics
    )
    model = autoencoders.predictor(
        encoder, description.num_outputs, **config.head.to_dict()
    )
    if config.pretrained is None:
        return model

    def init(key):
        trained = autoencoders.load_canonicalizer(config.pretrained).variables
        fresh = model.init(key)
        return fresh | {name: trained[name] for name in fresh if name != "head"}

    return model._replace(init=init)


def check_step(config: harness.Config, data: PredictData, mesh) -> None:
    """Raise what a run would raise on its first step, without computing anything."""
    _distort.check_options(config, data.zoo.architecture)
    model = make_model(config, describe(config, data))
    _autoencoder_fit.make_step(config, make_loss(config, model), mesh)
    _autoencoder_fit.check_run(config, len(data.parts["train"]), mesh)
    key = jax.random.key(0)
    one = jax.eval_shape(model.network.init, key)
    jax.eval_shape(model.predict, jax.eval_shape(model.init, key), one)


def make_loss(config: harness.Config, model: autoencoders.Predictor):
    """Return `loss_fn(variables, batch, key)`: cross-entropy in nats, or an error."""

    def loss_fn(variables, batch, key):
        keys = jax.random.split(key, 3)
        read = _distort.distort(keys[0], batch["params"], config)
        spec = model.network.spec
        read = _autoencoder_fit.encoder_input(config, spec, read, keys[1])
        outputs = model.predict(variables, read, keys[2])
        return jnp.mean(losses(config, outputs, batch["targets"])), {}

    return loss_fn


def losses(config: harness.Config, outputs: Any, targets: Any):
    """Return the loss `[N]` of outputs `[N, C]`."""
    if config.task == "label":
        wanted = jax.nn.one_hot(targets, outputs.shape[-1])
        wanted = optax.smooth_labels(wanted, config.label_smoothing)
        return optax.softmax_cross_entropy(outputs, wanted)
    if config.accuracy_loss == "bce":
        return optax.sigmoid_binary_cross_entropy(outputs[..., 0], targets)
    return (jax.nn.sigmoid(outputs[..., 0]) - targets) ** 2


def make_batches(config: harness.Config, data: PredictData):
    """Return the batch of a step: weights and targets."""
    numbers = data.parts["train"]
    train = zoo.select(data.zoo, numbers)
    examples = {"params": train.params, "targets": data.targets[numbers]}

    def batch_fn(step: int):
        rows = zoo.batch_indices(config.seed, step, config.batch_size, len(train))
        return jax.tree.map(lambda x: x[rows], examples)

    return batch_fn


def make_evaluator(
    config: harness.Config, model: autoencoders.Predictor, data: PredictData
):
    """Return measures on the validation networks as a function of the state."""
    val = zoo.select(data.zoo, data.parts["val"])
    targets = data.targets[data.parts["val"]]
    predict = jax.jit(model.predict)

    def evaluator(state):
        run = functools.partial(predict, training.eval_params(state))
        outputs = autoencoders.map_batches(run, val.params, 64)
        yield from measures(config, outputs, targets).items()

    return evaluator


def measures(
    config: harness.Config, outputs: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """Measure outputs `[N, C]` against targets `[N]`.

    Returns:
      For labels `accuracy` and `cross_entropy` (nats, of hard labels). For accuracies
      `tau` (Kendall), `r2` (the share of the variance that is explained), `mae` and
      `loss`.
    """
    if config.task == "label":
        found = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return {
            "accuracy": float(np.mean(np.argmax(outputs, axis=-1) == targets)),
            "cross_entropy": float(np.mean(np.asarray(found))),
        }
    predicted = predictions(config, outputs)
    spread = np.sum((targets - targets.mean()) ** 2)
    return {
        "tau": _classifier_evaluation.kendall_tau(predicted, targets),
        "r2": float(1 - np.sum((predicted - targets) ** 2) / spread),
        "mae": float(np.mean(np.abs(predicted - targets))),
        "loss": float(np.mean(np.asarray(losses(config, outputs, targets)))),
    }


def predictions(config: harness.Config, outputs: np.ndarray) -> np.ndarray:
    """Return classes `[N]`, or accuracies `[N]` in [0, 1]."""
    if config.task == "label":
        return np.argmax(outputs, axis=-1)
    return np.asarray(jax.nn.sigmoid(outputs[..., 0]))


def _with_targets(config: harness.Config, data: _inr_data.InrData) -> PredictData:
    name = config.zoo or "the zoo"
    if config.task == "label":
        targets = _labels(name, data)
        num_outputs = int(targets.max()) + 1
    else:
        targets, num_outputs = _accuracies(name, data), 1
    return PredictData(data.zoo, data.parts, data.statistics, targets, num_outputs)


def _labels(name: str, data: _inr_data.InrData) -> np.ndarray:
    labels = np.asarray(data.zoo.labels)
    if (unknown := int(np.sum(labels < 0))) > 0:
        raise ValueError(
            f"{unknown} of the {len(labels)} networks in {name} have no label, so there"
            " is no class to predict: leave them out with zoo.select, or use"
            " config.task='accuracy'."
        )
    if len(classes := np.unique(labels[data.parts["train"]])) < 2:
        raise ValueError(
            f"All training networks in {name} have the label {classes[0]}: there is"
            " nothing to predict. Use a zoo of at least two classes."
        )
    return labels


def _accuracies(name: str, data: _inr_data.InrData) -> np.ndarray:
    if METRIC not in data.zoo.metrics:
        raise ValueError(
            f"{name} has no metric {METRIC!r} to predict; it has"
            f" {sorted(data.zoo.metrics)}."
        )
    accuracies = np.asarray(data.zoo.metrics[METRIC])
    if not (accuracies >= 0).all() or not (accuracies <= 1).all():
        raise ValueError(f"{METRIC} of {name} must lie in [0, 1] for all networks.")
    for part, numbers in data.parts.items():
        if len(np.unique(accuracies[numbers])) < 2:
            raise ValueError(
                f"All {len(numbers)} networks of the part {part!r} of {name} have the"
                f" same {METRIC}: there is nothing to rank. Use a larger zoo or"
                " fraction."
            )
    return accuracies
