"""Train one classifier of a zoo whose members differ in how they are trained.

The recipe of the Small CNN Zoo (Unterthiner et al. 2020, arXiv 2002.11448) in short:
every network draws its own learning rate, scale of initialisation, L2 penalty and part
of the training images, and is kept at several points of its training. Networks to be
merged, which share one recipe, are trained by `train_classifiers`.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Array, Key, Params

RANGES = ("learning_rate", "init_scale", "l2reg")
"""Hyper-parameters that are drawn log-uniformly."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooOptions:
    """How to train the classifiers of a zoo, each in its own way, step by step.

    A pair `(low, high)` is a range from which each network draws log-uniformly.
    `EpochOptions` train networks that share one recipe.

    Attributes:
      num_steps: steps of Adam.
      batch_size: images per step, drawn with replacement.
      keep_steps: earlier steps after which a network is kept too; each makes one more
        network of the zoo.
      learning_rate: of Adam.
      decay: whether the learning rate falls to zero along a cosine; constant if not, as
        in the published zoo.
      init_scale: factor on the kernels of `Network.init`.
      l2reg: factor of the squared norm of the kernels in the loss.
      train_fractions: parts of the training images; each network draws one and sees
        that share, in an order of its own.
      num_train_eval: training images of the network on which the training accuracy is
        measured, at most.

    Raises:
      ValueError: a number outside its range.
    """

    num_steps: int = 1000
    batch_size: int = 64
    keep_steps: tuple[int, ...] = ()
    learning_rate: tuple[float, float] = (5e-4, 2e-2)
    decay: bool = True
    init_scale: tuple[float, float] = (0.5, 2.0)
    l2reg: tuple[float, float] = (1e-8, 1e-3)
    train_fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    num_train_eval: int = 2000

    def __post_init__(self):
        for name in ("num_steps", "batch_size", "num_train_eval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        for name in RANGES:
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"{name} must be a range 0 < low <= high, got {(low, high)}."
                )
        if not self.train_fractions or not all(
            0 < f <= 1 for f in self.train_fractions
        ):
            raise ValueError(
                f"train_fractions must lie in (0, 1], got {self.train_fractions}."
            )
        steps = (0, *self.keep_steps, self.num_steps)
        if any(a >= b for a, b in itertools.pairwise(steps)):
            raise ValueError(
                "keep_steps must rise within 1..num_steps - 1, got"
                f" {self.keep_steps} of {self.num_steps}."
            )


def fit_classifier(
    network: networks.Network, key: Key, data: Any, options: ZooOptions
) -> tuple[Params, dict[str, Array]]:
    """Train one classifier with hyper-parameters of its own.

    The key decides everything: hyper-parameters, initialisation, images of each step.
    The data are inputs and labels of training, then of test: `[S, *input_shape]`,
    `[S]`, `[T, *input_shape]`, `[T]`.

    Returns:
      Parameters with a leading axis over the steps at which the network was kept,
      `num_steps` last, and measures with the same axis: `test_accuracy` and
      `train_accuracy` in [0, 1], `test_loss` and `train_loss` in nats, `step`, and the
      hyper-parameters.
    """
    inputs, labels, test_inputs, test_labels = data
    hyper_key, init_key, offset_key, step_key = jax.random.split(key, 4)
    drawn = _draw(hyper_key, options)
    num_seen = jnp.maximum(jnp.round(drawn["train_fraction"] * len(inputs)), 1)
    num_seen = num_seen.astype(jnp.int32)
    # A part of the images begins anywhere and wraps around.
    offset = jax.random.randint(offset_key, (), 0, len(inputs))
    optimizer = optax.scale_by_adam()

    def loss_fn(params: Params, x: Array, y: Array) -> Array:
        logits = network.apply(params, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        squares = sum(jnp.sum(x**2) for x in _kernels(params))
        return jnp.mean(loss) + drawn["l2reg"] * squares

    def step(number: Array, carry: tuple[Params, Any]) -> tuple[Params, Any]:
        params, opt_state = carry
        place = jax.random.randint(
            jax.random.fold_in(step_key, number), (options.batch_size,), 0, num_seen
        )
        rows = (place + offset) % len(inputs)
        gradients = jax.grad(loss_fn)(params, inputs[rows], labels[rows])
        updates, opt_state = optimizer.update(gradients, opt_state)
        rate = drawn["learning_rate"]
        if options.decay:
            rate *= 0.5 * (1 + jnp.cos(jnp.pi * number / options.num_steps))
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return params, opt_state

    def until(carry: tuple[Params, Any], bounds: Array) -> tuple[Any, Params]:
        carry = lax.fori_loop(bounds[0], bounds[1], step, carry)
        return carry, carry[0]

    params = network.init(init_key)
    params = symmetry.unflatten(
        {
            path: drawn["init_scale"] * leaf if path[-1] == "kernel" else leaf
            for path, leaf in symmetry.flatten(params).items()
        }
    )
    steps = jnp.array([0, *options.keep_steps, options.num_steps])
    bounds = jnp.stack([steps[:-1], steps[1:]], axis=1)
    _, kept = lax.scan(until, (params, optimizer.init(params)), bounds)

    seen = (
        jnp.arange(min(options.num_train_eval, len(inputs))) % num_seen + offset
    ) % (len(inputs))
    train = inputs[seen], labels[seen]

    def measure(params: Params) -> dict[str, Array]:
        measures = {}
        for name, rows in (("train", train), ("test", (test_inputs, test_labels))):
            values = networks.evaluate_classifier(
                network.apply, params, *rows, batch_size=250
            )
            measures |= {f"{name}_{key}": value for key, value in values.items()}
        return measures

    measures = lax.map(measure, kept)
    measures |= {"step": steps[1:]} | {
        name: jnp.full(len(steps) - 1, value) for name, value in drawn.items()
    }
    return kept, measures


def _draw(key: Key, options: ZooOptions) -> dict[str, Array]:
    """Return the hyper-parameters of one network."""
    drawn = {}
    for number, name in enumerate(RANGES):
        low, high = (jnp.log(bound) for bound in getattr(options, name))
        uniform = jax.random.uniform(jax.random.fold_in(key, number))
        drawn[name] = jnp.exp(low + (high - low) * uniform)
    choice = jax.random.fold_in(key, len(RANGES))
    fractions = jnp.asarray(options.train_fractions)
    drawn["train_fraction"] = jax.random.choice(choice, fractions)
    return drawn


def _kernels(params: Params) -> list[Array]:
    leaves = symmetry.flatten(params).items()
    return [leaf for path, leaf in leaves if path[-1] == "kernel"]
