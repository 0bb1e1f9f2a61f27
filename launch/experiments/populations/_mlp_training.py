"""The networks of the merging experiment: data, training, files."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments import harness
from experiments.populations import _image_splits
from symmerge_jax import networks, training, zoo


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


def load_data(config: harness.Config) -> ClassifierData:
    """Return the images of a config; without a test split, some are put aside."""
    train, test = _image_splits.load_splits(config)
    return ClassifierData(
        _pixels(train.images), train.labels, _pixels(test.images), test.labels
    )


def architecture_of(config: harness.Config, data: ClassifierData) -> dict[str, Any]:
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
    config: harness.Config, network: networks.Network, data: ClassifierData
) -> zoo.ClassifierTraining:
    """Return the training of `2 * num_pairs` networks, after checking its options."""
    least = {"num_pairs": 1, "log_every": 1, "checkpoint_every": 1}
    harness.at_least(config, **least, keep_checkpoints=1)
    return zoo.train_classifiers(
        network,
        data.train_inputs,
        data.train_labels,
        num_networks=2 * config.num_pairs,
        seed=config.seed,
        options=zoo.ClassifierOptions(**config.training.to_dict()),
    )


def train(
    config: harness.Config,
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
