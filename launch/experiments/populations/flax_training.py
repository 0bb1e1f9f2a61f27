"""Train Flax classifiers apart, one after the other, each from a seed of its own.

A network depends on its number, the recipe and the images alone: further networks may
be added to a run, and those that are there are not trained again.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import symmerge_jax
from experiments.populations import _population
from symmerge_jax import training
from symmerge_jax.typing import Array, Params

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
      optimizer: one of `OPTIMIZERS`; weight decay is decoupled for "adam" and an L2
        penalty for "sgd".
      learning_rate: the largest, after `warmup_steps`.
      momentum: of "sgd", without Nesterov's; unused by "adam".
      schedule: decay of the learning rate over all steps, one of `SCHEDULES`.
      num_steps: batches of `batch_size` images, drawn with replacement.
      flip: mirror half of the images.
      shift: move images by up to so many pixels; what comes in is zero.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup_steps: int = 0
    num_steps: int = 1000
    batch_size: int = 128
    flip: bool = False
    shift: int = 0


class Training(NamedTuple):
    """Classifiers to train.

    Attributes:
      module: called with images and `train`.
      examples: images `[S, H, W, 1]` and their classes.
      seeds: one of each network.
      checkpoint_every: steps; the last state stays.
    """

    module: nn.Module
    examples: _population.Examples
    recipe: Recipe
    seeds: Sequence[int]
    checkpoint_every: int


def check(recipe: Recipe, prefix: str = "config.training") -> None:
    """Raise ValueError for values out of range; messages start with the prefix."""
    known = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for key, names in known.items():
        if getattr(recipe, key) not in names:
            raise ValueError(
                f"{prefix}.{key} is {getattr(recipe, key)!r}, known are"
                f" {', '.join(names)}."
            )
    least = {"num_steps": 1, "batch_size": 1, "warmup_steps": 0, "shift": 0}
    for key, value in {**least, "weight_decay": 0, "momentum": 0}.items():
        if getattr(recipe, key) < value:
            raise ValueError(
                f"{prefix}.{key} must be >= {value}, got {getattr(recipe, key)}."
            )
    if recipe.learning_rate <= 0 or recipe.momentum >= 1:
        raise ValueError(
            f"{prefix}.learning_rate must be positive and momentum below 1, got"
            f" {recipe.learning_rate} and {recipe.momentum}."
        )


def train(plan: Training, folder: pathlib.Path) -> list[Params]:
    """Return the variables of every network, trained or read from its file.

    Each leaves `networks/SEED.safetensors`, and until then checkpoints.
    """
    found = []
    for number, seed in enumerate(plan.seeds):
        file = folder / "networks" / f"{seed}.safetensors"
        if not file.exists():
            title = f"train {number + 1}/{len(plan.seeds)}"
            symmerge_jax.save(file, _train_one(plan, seed, folder, title))
        found.append(symmerge_jax.load(file))
    return found


def initial(module: nn.Module, seed: int, images: np.ndarray) -> Params:
    """Return fresh variables."""
    return module.init(jax.random.key(seed), images[:1])


def batch_of(plan: Training, seed: int) -> Callable[[int], tuple[Any, Any]]:
    """Return the function from the number of a step to its images and classes."""
    images, classes = plan.examples
    recipe = plan.recipe
    size = (recipe.num_steps, recipe.batch_size)
    rows = np.random.default_rng(seed).integers(0, len(images), size)

    def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng((seed, step))
        return _augmented(random, images[rows[step]], recipe), classes[rows[step]]

    return batch


def _train_one(plan: Training, seed: int, folder: pathlib.Path, title: str) -> Params:
    module, recipe = plan.module, plan.recipe
    optimizer = _optimizer(recipe)
    variables = initial(module, seed, plan.examples.inputs)
    state = training.init_state(jax.random.key(seed), variables, optimizer)
    checkpoints = folder / "checkpoints" / str(seed)
    log = folder / "metrics" / f"{seed}.jsonl"
    if training.checkpoint_steps(checkpoints):
        state, _ = training.restore_checkpoint(checkpoints, state)
    log.parent.mkdir(parents=True, exist_ok=True)
    training.truncate_metrics(log, int(state.step))
    done = int(state.step)
    with training.Progress(recipe.num_steps, title, "step", initial=done) as progress:
        state = training.train(
            state,
            _step_fn(module, optimizer),
            batch_of(plan, seed),
            num_steps=recipe.num_steps,
            hooks=[
                training.progress_hook(progress, ("loss", "accuracy")),
                training.log_hook(log, min(100, recipe.num_steps)),
                training.checkpoint_hook(checkpoints, plan.checkpoint_every, keep=1),
            ],
        )
    return jax.device_get(state.params)


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Return the optimizer of the variables' `params`; statistics are not trained."""
    schedule: Any = recipe.schedule
    common = (recipe.learning_rate, recipe.num_steps, recipe.warmup_steps)
    inner, rate = training.make_optimizer(
        *common, schedule=schedule, weight_decay=recipe.weight_decay
    )
    if recipe.optimizer == "sgd":
        inner = optax.chain(
            optax.add_decayed_weights(recipe.weight_decay),
            optax.sgd(rate, recipe.momentum),
        )

    def init(params: Any) -> optax.OptState:
        return inner.init(params["params"])

    return optax.GradientTransformation(init, inner.update)


def _step_fn(module: nn.Module, optimizer: optax.GradientTransformation):
    def loss_fn(params: Params, statistics: Params, images: Array, classes: Array):
        logits, new = module.apply(
            {"params": params, **statistics}, images, train=True, mutable=[*statistics]
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()
        return loss, (new, jnp.mean(logits.argmax(axis=-1) == classes))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: training.TrainState, batch: Any):
        params = state.params["params"]
        statistics = {k: v for k, v in state.params.items() if k != "params"}
        (loss, (statistics, accuracy)), gradient = jax.value_and_grad(
            loss_fn, has_aux=True
        )(params, statistics, *batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, params)
        params = optax.apply_updates(params, updates)
        state = state._replace(
            step=state.step + 1,
            params={"params": params, **statistics},
            opt_state=opt_state,
        )
        return state, {"loss": loss, "accuracy": accuracy}

    return step


def _augmented(
    random: np.random.Generator, images: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """Return images `[S, H, W, 1]`, mirrored and moved; no label is looked at."""
    if recipe.flip:
        turned = random.random(len(images)) < 0.5
        images = np.where(turned[:, None, None, None], images[:, :, ::-1], images)
    if recipe.shift:
        by, (_, height, width, _) = recipe.shift, images.shape
        padded = np.pad(images, ((0, 0), (by, by), (by, by), (0, 0)))
        starts = random.integers(0, 2 * by + 1, (len(images), 2))
        images = np.stack(
            [
                image[y : y + height, x : x + width]
                for image, (y, x) in zip(padded, starts, strict=True)
            ]
        )
    return images
