"""The networks of the merging experiment: data, training, files."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import networks, training, zoo
from symmerge_jax.experiments import _config

_WITH_TEST_SPLIT = ("fashion_mnist", "mnist")


class ClassifierData(NamedTuple):
    """Images as rows of pixels in [0, 1], with their classes.

    Attributes:
      train_inputs: `[S, I]` float32.
      train_labels: `[S]` int32.
      test_inputs: `[S', I]` float32.
      test_labels: `[S']` int32.
    """

    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray


def load_data(config: _config.Config) -> ClassifierData:
    """Return the images of a config; without a test split, some are put aside."""
    source, folder = config.data.source, config.data.dir
    if source in _WITH_TEST_SPLIT:
        parts = [
            zoo.load_images(source, split, folder, num_images=count)
            for split, count in (("train", config.data.num_images), ("test", None))
        ]
        pairs = [(_pixels(part.images), part.labels) for part in parts]
        return ClassifierData(*pairs[0], *pairs[1])
    if not 0 < config.data.test_fraction < 1:
        raise ValueError(
            "config.data.test_fraction must lie in (0, 1), got"
            f" {config.data.test_fraction}."
        )
    found = zoo.load_images(source, "all", folder, num_images=config.data.num_images)
    generator = np.random.Generator(np.random.PCG64(config.seed))
    order = generator.permutation(len(found.labels))
    num_test = round(config.data.test_fraction * len(order))
    test, train = order[:num_test], order[num_test:]
    if not len(test) or not len(train):
        raise ValueError(
            f"{len(order)} images cannot be split by config.data.test_fraction ="
            f" {config.data.test_fraction}: one part is empty."
        )
    pixels = _pixels(found.images)
    return ClassifierData(
        pixels[train], found.labels[train], pixels[test], found.labels[test]
    )


def architecture_of(config: _config.Config, data: ClassifierData) -> dict[str, Any]:
    """Return the description for `networks.build`."""
    num_classes = int(max(data.train_labels.max(), data.test_labels.max())) + 1
    sizes = [data.train_inputs.shape[1], *config.architecture.hidden_sizes, num_classes]
    return {
        "kind": "mlp",
        "layer_sizes": sizes,
        "activation": config.architecture.activation,
        "use_bias": config.architecture.use_bias,
    }


def make_training(
    config: _config.Config, network: networks.Network, data: ClassifierData
) -> zoo.ClassifierTraining:
    """Return the training of `2 * num_pairs` networks, after checking its options."""
    for name in ("num_pairs", "log_every", "checkpoint_every", "keep_checkpoints"):
        if config[name] < 1:
            raise ValueError(f"config.{name} must be >= 1, got {config[name]}.")
    return zoo.train_classifiers(
        network,
        data.train_inputs,
        data.train_labels,
        num_networks=2 * config.num_pairs,
        seed=config.seed,
        options=zoo.ClassifierOptions(**config.training.to_dict()),
    )


def train(
    config: _config.Config,
    network: networks.Network,
    data: ClassifierData,
    plan: zoo.ClassifierTraining,
    folder: pathlib.Path,
) -> Any:
    """Train, or go on with what a run left; return stacked parameters.

    Writes `metrics.jsonl` and checkpoints; a finished run costs nothing again.
    """
    checkpoints, log = folder / "checkpoints", folder / "metrics.jsonl"
    state, num_epochs = plan.state, config.training.num_epochs
    if training.checkpoint_steps(checkpoints):
        state, _ = training.restore_checkpoint(checkpoints, state)
    training.truncate_metrics(log, int(state.step))
    evaluate = functools.partial(zoo.evaluate_classifier, network.apply)
    measure = jax.jit(jax.vmap(evaluate, in_axes=(0, None, None)))

    def on_test(state):
        measures = measure(state.params, data.test_inputs, data.test_labels)
        for name, values in measures.items():
            yield name, np.mean(values)

    hooks = [
        training.log_hook(log, 1),
        training.evaluation_hook(
            {"test": on_test},
            config.log_every,
            results=(training.write_results(log),),
        ),
        training.checkpoint_hook(
            checkpoints, config.checkpoint_every, keep=config.keep_checkpoints
        ),
    ]
    with training.Progress(
        num_epochs, "train", "epoch", initial=int(state.step)
    ) as progress:
        state = training.train(
            state,
            plan.step_fn,
            plan.batch_fn,
            num_steps=num_epochs,
            hooks=[training.progress_hook(progress, ("loss", "accuracy")), *hooks],
            max_in_flight=1,
        )
    return jax.device_get(state.params)


def save_networks(
    folder: pathlib.Path, params_batch: Any, architecture: dict[str, Any]
) -> None:
    """Write every network to `networks/<number>.safetensors`, with its architecture."""
    for index in range(len(jax.tree.leaves(params_batch)[0])):
        symmerge_jax.save(
            folder / "networks" / f"{index}.safetensors",
            pick(params_batch, index),
            architecture=architecture,
        )


def pick(params_batch: Any, index: int) -> Any:
    """Return one network of stacked parameters."""
    return jax.tree.map(lambda x: x[index], params_batch)


def _pixels(images):
    return zoo.to_unit_range(images).reshape(len(images), -1)
