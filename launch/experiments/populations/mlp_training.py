"""Pairs of MLP classifiers that are trained apart: images, training, files."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments import harness
from experiments.populations import _image_splits, _population
from symmerge_jax import networks, symmetry, training, zoo
from symmerge_jax.typing import Params


class Plan(NamedTuple):
    """What there is to train.

    Attributes:
      architecture: as `networks.build` takes it.
      network: what it builds.
      task: pixels `[S, I]` in [0, 1] with their classes; no network is trained on those
        of the test.
      training: of all networks side by side.
      num_epochs: length of the training; the `..._every` are epochs, too.
      keep_checkpoints: how many stay.
    """

    architecture: dict[str, Any]
    network: networks.Network
    task: _population.Task
    training: zoo.ClassifierTraining
    num_epochs: int
    log_every: int
    checkpoint_every: int
    keep_checkpoints: int


def plan(config: harness.Config) -> Plan:
    """Take a config apart: `2 * num_pairs` networks, and their images."""
    every = ("log_every", "checkpoint_every", "keep_checkpoints")
    harness.at_least(config, num_pairs=1, **dict.fromkeys(every, 1))
    splits = _image_splits.load_splits(config)
    inputs = [
        networks.to_unit_range(x.images).reshape(len(x.images), -1) for x in splits
    ]
    labels = [x.labels for x in splits]
    train, test = map(_population.Examples, inputs, labels)
    num_classes = int(np.concatenate(labels).max()) + 1
    hidden_sizes = config.architecture.hidden_sizes
    architecture = {
        "kind": "mlp",
        "layer_sizes": [inputs[0].shape[1], *hidden_sizes, num_classes],
        "activation": config.architecture.activation,
        "use_bias": config.architecture.use_bias,
    }
    network = networks.build(architecture)
    return Plan(
        architecture=architecture,
        network=network,
        task=_population.Task(train, test),
        training=zoo.train_classifiers(
            network,
            inputs[0],
            labels[0],
            num_networks=2 * config.num_pairs,
            seed=config.seed,
            options=zoo.EpochOptions(**config.training.to_dict()),
        ),
        num_epochs=config.training.num_epochs,
        **{key: config[key] for key in every},
    )


def train(plan: Plan, folder: pathlib.Path) -> Params:
    """Train all networks, or resume what a run left; return stacked parameters.

    Writes `metrics.jsonl` and checkpoints, and every network with its architecture to
    `networks/<number>.safetensors`. A finished training costs nothing again.
    """
    checkpoints, log = folder / "checkpoints", folder / "metrics.jsonl"
    state = plan.training.state
    if training.checkpoint_steps(checkpoints):
        state, _ = training.restore_checkpoint(checkpoints, state)
    training.truncate_metrics(log, int(state.step))
    evaluate = functools.partial(networks.evaluate_classifier, plan.network.apply)
    measure = jax.jit(jax.vmap(evaluate, in_axes=(0, None, None)))

    def on_test(state):
        measures = measure(state.params, *plan.task.test)
        for name, values in measures.items():
            yield name, np.mean(values)

    write = training.write_results(log)
    with training.Progress(
        plan.num_epochs, "train", "epoch", initial=int(state.step)
    ) as progress:
        state = training.train(
            state,
            plan.training.step_fn,
            plan.training.batch_fn,
            num_steps=plan.num_epochs,
            hooks=[
                training.progress_hook(progress, ("loss", "accuracy")),
                training.log_hook(log, 1),
                training.evaluation_hook(
                    {"test": on_test}, plan.log_every, results=(write,)
                ),
                training.checkpoint_hook(
                    checkpoints, plan.checkpoint_every, keep=plan.keep_checkpoints
                ),
            ],
            max_in_flight=1,
        )
    params_batch = jax.device_get(state.params)
    for index in range(symmetry.num_rows(params_batch)):
        file = folder / "networks" / f"{index}.safetensors"
        one = jax.tree.map(lambda x, i=index: x[i], params_batch)
        symmerge_jax.save(file, one, architecture=plan.architecture)
    return params_batch
