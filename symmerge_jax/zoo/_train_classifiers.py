"""Train a population of classifiers at once: one program, one scan per epoch.

All networks share the data and the recipe, and differ in their initialisation and in
the order of the examples, both of which follow from the seed and the network's number.
The default recipe is that of Ainsworth et al. 2023 (arXiv 2209.04836): Adam with
learning rate 1e-3, batches of 500. Zoos whose networks differ in how they are trained
are made by `generate_classifier_zoo`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from symmerge_jax import networks, training
from symmerge_jax.typing import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochOptions:
    """How to train classifiers that share one recipe, epoch by epoch.

    `ZooOptions` train the networks of a zoo, each in its own way.

    Attributes:
      num_epochs: passes over the data.
      batch_size: examples per step; the rest of an epoch is not used in it.
      learning_rate: largest learning rate of AdamW.
      schedule: its decay over all steps: "constant", "cosine" or "linear", to zero.
      weight_decay: decoupled weight decay of all parameters.
    """

    num_epochs: int = 100
    batch_size: int = 500
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    weight_decay: float = 0.0


class ClassifierTraining(NamedTuple):
    """What `training.train` needs to train a population; its step is an epoch.

    Attributes:
      state: the state before the first epoch; every parameter is `[N, ...]`.
      step_fn: `step_fn(state, order) -> (state, metrics)` runs an epoch. The old state
        is donated. Metrics, as means over networks and steps: `loss` in nats and
        `accuracy`, both of the batches as they are trained on.
      batch_fn: `batch_fn(epoch) -> [T, N, B]` int32 rows of the examples of each of
        `T` steps.
    """

    state: training.TrainState
    step_fn: Callable[[training.TrainState, Any], Any]
    batch_fn: Callable[[int], np.ndarray]


def train_classifiers(
    network: networks.Network,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    num_networks: int = 2,
    seed: int = 0,
    options: EpochOptions | None = None,
) -> ClassifierTraining:
    """Return the training of a population of classifiers, for `training.train`.

    The networks are spread over as many devices as divide their number.

    Args:
      network: its outputs `[S, C]` are the logits.
      inputs: `[S, *input_shape]` float32 examples.
      labels: `[S]` classes in `0..C-1`.
      num_networks: networks to train, `N`.
      seed: seed of the population.
      options: the recipe; the defaults of `EpochOptions` if None.

    Returns:
      State, step and batches; `training.train(*..., num_steps=options.num_epochs)`.

    Raises:
      ValueError: data that fit neither each other nor the network, or options outside
        their range.
    """
    options = EpochOptions() if options is None else options
    _check(network, inputs, labels, num_networks, options)
    num_steps = len(inputs) // options.batch_size
    optimizer, _ = training.make_optimizer(
        options.learning_rate,
        options.num_epochs * num_steps,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
    )
    mesh = training.make_mesh(
        jax.local_devices()[: math.gcd(num_networks, jax.local_device_count())]
    )

    def population_loss(params: Params, x: Array, y: Array) -> Any:
        loss, accuracy = jax.vmap(
            functools.partial(networks.classification_loss, network.apply)
        )(params, x, y)
        return jnp.sum(loss), (jnp.mean(loss), jnp.mean(accuracy))

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(
        state: training.TrainState, inputs: Array, labels: Array, order: Array
    ) -> tuple[training.TrainState, dict[str, Array]]:
        def step(carry: tuple[Params, Any], rows: Array) -> Any:
            params, opt_state = carry
            gradients, measures = jax.grad(population_loss, has_aux=True)(
                params, inputs[rows], labels[rows]
            )
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), measures

        carry = (state.params, state.opt_state)
        (params, opt_state), (loss, accuracy) = lax.scan(step, carry, order)
        state = state._replace(step=state.step + 1, params=params, opt_state=opt_state)
        return state, {"loss": jnp.mean(loss), "accuracy": jnp.mean(accuracy)}

    key = jax.random.key(seed)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_networks))
    params = jax.jit(jax.vmap(network.init))(keys)
    state = training.init_state(key, params, optimizer, mesh=mesh)
    data = training.replicate(
        (np.asarray(inputs, np.float32), np.asarray(labels, np.int32)), mesh
    )

    def batch_fn(number: int) -> np.ndarray:
        orders = [
            np.random.Generator(np.random.PCG64((seed, index, number)))
            .permutation(len(inputs))[: num_steps * options.batch_size]
            .reshape(num_steps, options.batch_size)
            for index in range(num_networks)
        ]
        return np.stack(orders, axis=1).astype(np.int32)

    return ClassifierTraining(
        _spread(state, mesh), lambda state, order: epoch(state, *data, order), batch_fn
    )


def _spread(state: training.TrainState, mesh: Mesh) -> training.TrainState:
    """Shard what has an axis of networks, and replicate the rest."""

    def place(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: training.shard_batch(x, mesh) if x.ndim else x, tree
        )

    return state._replace(params=place(state.params), opt_state=place(state.opt_state))


def check_data(
    network: networks.Network, inputs: np.ndarray, labels: np.ndarray, name: str
) -> None:
    """Refuse examples that a classifier does not read, or classes that it lacks.

    Args:
      network: its outputs are the logits.
      inputs: examples.
      labels: their classes, or those of more examples of the same kind.
      name: where they come from, for messages.

    Raises:
      ValueError: another shape of inputs, or labels outside the outputs.
    """
    if np.shape(inputs)[1:] != network.input_shape:
        size = ", ".join(str(n) for n in network.input_shape)
        raise ValueError(
            f"The network reads inputs [S, {size}], those of {name} are"
            f" {np.shape(inputs)}."
        )
    params = jax.eval_shape(network.init, jax.random.key(0))
    num_classes = list(network.spec.sizes(params).values())[-1]
    if np.min(labels) < 0 or np.max(labels) >= num_classes:
        raise ValueError(
            f"Labels of {name} lie in {np.min(labels)}..{np.max(labels)}, but the"
            f" network has {num_classes} outputs."
        )


def _check(
    network: networks.Network,
    inputs: np.ndarray,
    labels: np.ndarray,
    num_networks: int,
    options: EpochOptions,
) -> None:
    if np.ndim(inputs) < 2 or np.shape(labels) != np.shape(inputs)[:1]:
        raise ValueError(
            "Classifiers need inputs [S, ...] and labels [S], got"
            f" {np.shape(inputs)} and {np.shape(labels)}."
        )
    if num_networks < 1 or options.num_epochs < 1 or options.batch_size < 1:
        raise ValueError(
            "num_networks, num_epochs and batch_size must be >= 1, got"
            f" {num_networks}, {options.num_epochs} and {options.batch_size}."
        )
    if options.batch_size > len(inputs):
        raise ValueError(
            f"A batch of {options.batch_size} is larger than the {len(inputs)}"
            " examples: use a smaller batch_size."
        )
    check_data(network, inputs, labels, "the data")
