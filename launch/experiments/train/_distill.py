"""The parts of the training of an autoencoder of classifiers: data, loss, batches.

Boufalis et al. 2025, arXiv 2511.12601, section 5.2: the decoded network has to give the
logits of the original one. They distil on the test images; here training images are the
default. The logits of the originals are computed once.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.populations import _image_splits, _inr_data, make_classifier_zoo
from experiments.train import _autoencoder_fit
from symmerge_jax import autoencoders, networks, training, zoo
from symmerge_jax.typing import Params


class ClassifierZoo(NamedTuple):
    """A zoo of classifiers, divided by training run, and images.

    Attributes:
      zoo: all networks.
      parts: numbers of the networks in "train", "val" and "test".
      statistics: mean and standard deviation per tensor over the training networks.
      train: images to distil on, as inputs `[S, ...]` and labels `[S]`.
      test: images to measure on.
    """

    zoo: zoo.Zoo
    parts: dict[str, np.ndarray]
    statistics: autoencoders.Statistics
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def plan(config: harness.Config) -> ClassifierZoo:
    """Return the data of a config before any work: weights may still be zeros.

    Raises:
      ValueError: as `load`; or keys that describe a zoo to be made, beside a
        `config.zoo` that was made differently.
      FileNotFoundError: as `load`.
    """
    if config.zoo is None:
        return _divide(make_classifier_zoo.plan(_zoo_config(config)), config)
    classifiers = zoo.load(config.zoo)
    recorded = _recorded(classifiers)
    harness.refuse_unused(
        _zoo_config(config),
        make_classifier_zoo.default_config(),
        tuple({key.split(".")[0] for key in recorded}),
        f"zoo={config.zoo!r}",
        fulfilled=recorded,
    )
    return _divide(classifiers, config)


def load(config: harness.Config, workdir: pathlib.Path) -> ClassifierZoo:
    """Return the networks and images that a config asks for, checked.

    Args:
      config: `config.zoo` names a zoo file; without it the zoo of the other keys is
        made in the workdir.
      workdir: folder of the run.

    Returns:
      The data.

    Raises:
      ValueError: networks that are not finite or no classifiers of these images, fewer
        than the split needs, or options outside their range.
      FileNotFoundError: no such zoo, or no images.
    """
    if config.zoo is not None:
        return _divide(zoo.load(config.zoo), config)
    made = make_classifier_zoo.run(_zoo_config(config), workdir / "classifiers.zoo")
    return _divide(made, config)


def make_model(config: harness.Config, data: ClassifierZoo) -> autoencoders.Autoencoder:
    """Return the autoencoder that the config describes, for these networks."""
    return autoencoders.build(
        data.zoo.architecture,
        *_autoencoder_fit.descriptions(config),
        data.statistics,
    )


def make_loss(config: harness.Config, model: autoencoders.Autoencoder, images):
    """Return `loss_fn(variables, batch, key)`; `images` are all that are distilled on.

    A batch holds `params`, and for each network the same `rows` of the images and its
    own `logits` on them.
    """
    images = jnp.asarray(images)

    def loss_fn(variables, batch, key):
        read = _autoencoder_fit.encoder_input(
            config, model.network.spec, batch["params"], jax.random.fold_in(key, 2)
        )
        decoded = model.decode(variables, model.encode(variables, read, key))
        found = autoencoders.population_logits(
            model.network, decoded, images[batch["rows"][0]]
        )
        losses = autoencoders.distillation_loss(
            found, batch["logits"], temperature=config.temperature
        )
        return jnp.mean(losses), {}

    return loss_fn


def distillation_images(config: harness.Config, data: ClassifierZoo) -> np.ndarray:
    """Return the inputs that are distilled on."""
    return _candidates(config, data)[: config.num_images]


def _candidates(config: harness.Config, data: ClassifierZoo) -> np.ndarray:
    """Return the inputs that may be distilled on, `num_images` of which are."""
    return data.test[0] if config.distill_on == "test" else data.train[0]


def make_batches(config: harness.Config, data: ClassifierZoo, model, images):
    """Return the batch of a step: weights, and logits that are computed once."""
    train = zoo.select(data.zoo, data.parts["train"])
    logits = all_logits(model, train.params, images)
    size = config.images_per_step or len(images)

    def batch_fn(step: int):
        rows = zoo.batch_indices(config.seed, step, config.batch_size, len(train))
        generator = np.random.Generator(np.random.PCG64((config.seed, step)))
        seen = generator.choice(len(images), size, replace=False)
        return {
            "params": jax.tree.map(lambda x: x[rows], train.params),
            "rows": np.broadcast_to(seen.astype(np.int32), (len(rows), size)),
            "logits": logits[rows[:, None], seen[None]],
        }

    return batch_fn


def make_evaluator(config: harness.Config, data: ClassifierZoo, model):
    """Return measures on the validation networks as a function of the state."""
    val = zoo.select(data.zoo, data.parts["val"])
    inputs, labels = (x[: config.num_val_images] for x in data.test)
    logits = all_logits(model, val.params, inputs)
    actual = np.mean(np.argmax(logits, -1) == labels[None], axis=1)

    @jax.jit
    def measure(variables, batch):
        decoded = model.reconstruct(variables, batch["params"])
        found = autoencoders.population_logits(model.network, decoded, inputs)
        losses = autoencoders.distillation_loss(
            found, batch["logits"], temperature=config.temperature
        )
        classes = jnp.argmax(found, axis=-1)
        agreement = jnp.mean(classes == jnp.argmax(batch["logits"], axis=-1), axis=1)
        return losses, jnp.mean(classes == labels[None], axis=1), agreement

    def evaluator(state):
        run = functools.partial(measure, training.eval_params(state))
        batch = {"params": val.params, "logits": logits}
        losses, accuracy, agreement = autoencoders.map_batches(run, batch, 32)
        yield "kl", np.mean(losses)
        yield "accuracy", np.mean(accuracy)
        yield "accuracy_l1", np.mean(np.abs(accuracy - actual))
        yield "agreement", np.mean(agreement)

    return evaluator


def all_logits(
    model: autoencoders.Autoencoder, params_batch: Params, inputs: np.ndarray
) -> np.ndarray:
    """Return the logits `[N, S, C]` of many networks on the same inputs."""
    points = jnp.asarray(inputs)
    run = jax.jit(
        lambda params: autoencoders.population_logits(model.network, params, points)
    )
    return autoencoders.map_batches(run, params_batch, 32)


def check_options(config: harness.Config, data: ClassifierZoo) -> None:
    """Refuse options of the distillation that are outside their range."""
    if config.distill_on not in ("train", "test"):
        raise ValueError(
            f"config.distill_on must be 'train' or 'test', got {config.distill_on!r}."
        )
    if not config.temperature > 0:
        raise ValueError(f"config.temperature must be > 0, got {config.temperature}.")
    count, most = config.num_images, len(_candidates(config, data))
    if count is not None and not 1 <= count <= most:
        raise ValueError(
            f"config.num_images must lie in 1..{most}, the {config.distill_on} images,"
            f" or be None for all of them, got {count}."
        )
    harness.at_least(config, num_val_images=1)
    num_images = len(distillation_images(config, data))
    size = config.images_per_step
    if not 0 <= size <= num_images:
        raise ValueError(
            f"config.images_per_step must lie in 1..{num_images}, the images that are"
            f" distilled on, or be 0 for all of them, got {size}."
        )


def _divide(classifiers: zoo.Zoo, config: harness.Config) -> ClassifierZoo:
    zoo.check_finite(classifiers)
    parts = _inr_data.split(classifiers, config)
    train = zoo.select(classifiers, parts["train"])
    network = networks.build(classifiers.architecture)
    images = []
    for found in _image_splits.load_splits(config):
        inputs = zoo.classifier_inputs(found.images, network.input_shape)
        zoo.check_data(network, inputs, found.labels, found.name)
        images.append((inputs, found.labels))
    data = ClassifierZoo(classifiers, parts, zoo.statistics(train), *images)
    check_options(config, data)
    return data


def _zoo_config(config: harness.Config) -> harness.Config:
    keys = make_classifier_zoo.default_config().keys()
    chosen = ConfigDict({key: config[key] for key in keys})
    chosen.experiment = "make_classifier_zoo"
    return chosen


def _recorded(classifiers: zoo.Zoo) -> dict[str, Any]:
    """Return what a zoo tells of itself, by key of `make_classifier_zoo`.

    An imported zoo tells its architecture, not how its networks were trained.
    """
    made = classifiers.provenance
    groups, recorded = {"architecture": classifiers.architecture}, {}
    if made.get("made_by") == "generate_classifier_zoo":
        recorded["num_networks"] = made["num_networks"]
        groups["training"] = made["options"]
    return recorded | {
        f"{group}.{name}": tuple(value) if isinstance(value, list) else value
        for group, values in groups.items()
        for name, value in values.items()
    }
