"""Train a model that reads networks: progress, checkpoints, resume, the best state.

A `Job` says what is trained and on what, `FitOptions` how long and how fast, and `fit`
runs it in a folder:

    metrics.jsonl                losses and validation measures by step
    checkpoints/{latest,best}    to resume from; best by a validation measure

After `jax.distributed.initialize()`, processes that make the same call share the work:
each reads and feeds its part of a batch and evaluates its part of the validation, and
the first alone uses the folder.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from symmerge_jax import files, networks, training, zoo
from symmerge_jax.learning import _record

Variables = Any
"""Parameters of a model."""

BatchFn = Callable[[int], Any]
"""From the number of a step to its batch, a tree of arrays `[N, ...]`; of many
processes, to the `training.own_rows` of this one."""

Evaluator = Callable[[training.TrainState], Iterator[tuple[str, Any]]]
"""From a state to named validation measures; `training.eval_params` are its
parameters. All processes call it; `training.over_processes` divides it among them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a model is trained: AdamW with warm-up, clipping and a decaying step size.

    Attributes:
      num_steps: steps of the whole training.
      batch_size: networks, or pairs of networks, per step; None for 64 (32 pairs), or
        as many as there are.
      num_microbatches: equal parts of a batch whose gradients are summed, which bounds
        memory.
      parallel: "jit" or "pmap", see `training.make_train_step`.
      learning_rate: largest one, > 0.
      schedule: "constant", "cosine" or "linear", after the warm-up.
      warmup_steps: steps of linear warm-up; None for 50, or a tenth of fewer than 500.
      weight_decay: decoupled weight decay, >= 0.
      clip_norm: largest global norm of the gradient; None for no clipping.
      amsgrad: whether the largest second moment so far is used.
      ema_decay: decay of the moving average that is evaluated instead of the
        parameters, in [0, 1); None for none.
      log_every: steps between two lines of training metrics.
      evaluate_every: steps between two evaluations on the validation networks.
      checkpoint_every: steps between two checkpoints.
      keep_checkpoints: number of the latest checkpoints that stay.
      seed: of initial parameters, of the order of batches and of randomness in steps.
    """

    num_steps: int = 1000
    batch_size: int | None = None
    num_microbatches: int = 1
    parallel: Literal["jit", "pmap"] = "jit"
    learning_rate: float = 2e-3
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup_steps: int | None = None
    weight_decay: float = 0.01
    clip_norm: float | None = 10.0
    amsgrad: bool = False
    ema_decay: float | None = None
    log_every: int = 10
    evaluate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self):
        for name in ("num_steps", "batch_size", *_record.SCHEDULING):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")

    def resolve(self, num_examples: int, largest_batch: int = 64) -> "FitOptions":
        """Return the options with numbers for what is None, for so many networks."""
        batch_size, warmup_steps = self.batch_size, self.warmup_steps
        if batch_size is None:  # equal parts for devices and microbatches
            unit = jax.device_count() * self.num_microbatches
            batch_size = max(min(largest_batch, num_examples) // unit, 1) * unit
        if warmup_steps is None:
            warmup_steps = min(50, self.num_steps // 10)
        return dataclasses.replace(
            self, batch_size=batch_size, warmup_steps=warmup_steps
        )


class Job(NamedTuple):
    """A training: what is trained, and on what.

    Attributes:
      untrained: a dataclass with the fields `variables` and `metadata`, which training
        fills in. A folder where its other fields were different is refused.
      model: has `init(key) -> variables`.
      loss_fn: `loss_fn(variables, batch, key) -> (loss, metrics)`, means over a batch.
      num_examples: training networks.
      batches: `batches(seed, batch_size)` returns the batch of every step. It is called
        when training starts and may compute.
      evaluator: returns the measures of a state on validation networks. It is called
        when training starts and may compute.
      best: the measure by which the best state is kept, as "val/mse".
      mode: whether its smallest ("min") or its largest value ("max") is the best.
      settings: further JSON values that a folder to resume from must agree with.
    """

    untrained: Any
    model: Any
    loss_fn: Callable[..., tuple[Any, dict[str, Any]]]
    num_examples: int
    batches: Callable[[int, int], BatchFn]
    evaluator: Callable[[], Evaluator]
    best: str
    mode: Literal["min", "max"] = "min"
    settings: Mapping[str, Any] = {}


def check(job: Job, options: FitOptions) -> None:
    """Raise what `fit` would raise on its first step, without computing anything.

    Args:
      job: what is trained.
      options: how it is trained.

    Raises:
      ValueError: options out of range, a batch that networks or devices do not fit, or
        an invalid model.
    """
    _prepare(job, options.resolve(job.num_examples))


def fit(
    job: Job,
    folder: str | os.PathLike,
    options: FitOptions | None = None,
) -> Any:
    """Train, or resume, and return the best model by the validation measure.

    A training that was stopped, by a signal or a crash, and is started again with the
    same arguments ends with the same numbers as one without a stop. One that has ended
    is only read.

    Args:
      job: what is trained.
      folder: where metrics and checkpoints go.
      options: how it is trained; None for the defaults.

    Returns:
      `job.untrained` with the best variables and, as metadata, `num_steps`,
      `best_step`, the best measure, as `val_mse`, and the median `seconds_per_step`.

    Raises:
      ValueError: as `check`; a folder of another training, or one that another process
        works in; a damaged checkpoint; processes that do not call it with the same
        arguments.
      FloatingPointError: a loss that is not finite; names the step.
    """
    options = FitOptions() if options is None else options
    options = options.resolve(job.num_examples)
    with training.together():
        prepared = _prepare(job, options)
    _record.check_processes(job, options)
    folder = pathlib.Path(folder).expanduser().absolute()
    checkpoints = folder / "checkpoints"
    with contextlib.ExitStack() as stack:
        with training.together():
            if training.is_first():
                checkpoints.mkdir(parents=True, exist_ok=True)
                stack.enter_context(files.lock(checkpoints / ".lock", folder))
        _train(job, folder, options, *prepared)
        found = training.on_first(lambda: _load_best(job, folder, options))
    variables, metadata = found or (_zeros(job.model), None)
    variables = training.from_first(variables)
    metadata = training.value_from_first(metadata)
    return dataclasses.replace(job.untrained, variables=variables, metadata=metadata)


def map_rows(function: Callable[[Any], Any], rows: Any, batch_size: int) -> Any:
    """Return `function(rows)` as `networks.map_batches`, computed by all processes."""
    return training.over_processes(
        lambda part: networks.map_batches(function, part, batch_size), rows
    )


def _prepare(job: Job, options: FitOptions):
    """Return the optimizer and the training step, after all checks."""
    assert options.batch_size is not None and options.warmup_steps is not None
    optimizer, schedule_fn = training.make_optimizer(
        options.learning_rate,
        options.num_steps,
        options.warmup_steps,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        amsgrad=options.amsgrad,
    )
    step_fn = training.make_train_step(
        job.loss_fn,
        optimizer,
        schedule_fn=schedule_fn,
        num_microbatches=options.num_microbatches,
        ema_decay=options.ema_decay,
        parallel=options.parallel,
    )
    rows = zoo.batch_indices(options.seed, 0, options.batch_size, job.num_examples)
    training.check_batch({"rows": rows}, jax.device_count(), options.num_microbatches)
    jax.eval_shape(job.model.init, jax.random.key(0))
    return optimizer, step_fn


def _train(
    job: Job,
    folder: pathlib.Path,
    options: FitOptions,
    optimizer: Any,
    step_fn: Callable[..., Any],
) -> None:
    assert options.batch_size is not None
    latest, log = folder / "checkpoints/latest", folder / "metrics.jsonl"
    record = _record.of_training(job, options)
    training.on_first(lambda: _record.check_folder(folder, record))
    init_key, train_key = jax.random.split(jax.random.key(options.seed))
    state = training.init_state(
        train_key,
        jax.jit(job.model.init)(init_key),
        optimizer,
        ema=options.ema_decay is not None,
    )
    own = training.own_copy(state)
    own = training.on_first(lambda: _resume(own, latest, log)) or own
    state = training.replicate(training.from_first(own), training.make_mesh())
    if int(state.step) == options.num_steps:
        return
    keep_best = training.keep_best(folder / "checkpoints/best", job.best, mode=job.mode)
    with training.together():
        evaluator = job.evaluator()
    hooks = [
        training.log_hook(log, options.log_every),
        training.evaluation_hook(
            {"val": evaluator},
            options.evaluate_every,
            results=(training.write_results(log), keep_best),
        ),
        training.checkpoint_hook(
            latest,
            options.checkpoint_every,
            keep=options.keep_checkpoints,
            metadata=record,
        ),
    ]
    done = int(state.step)
    with training.Progress(options.num_steps, "train", initial=done) as progress:
        training.train(
            state,
            step_fn,
            job.batches(options.seed, options.batch_size),
            num_steps=options.num_steps,
            hooks=[training.progress_hook(progress), *hooks],
        )


def _resume(
    state: training.TrainState, latest: pathlib.Path, log: pathlib.Path
) -> training.TrainState:
    """Return the latest state in a folder, or this one, and cut the log there."""
    if training.checkpoint_steps(latest):
        state, _ = training.restore_checkpoint(latest, state)
    training.truncate_metrics(log, int(state.step))
    return state


def _zeros(model: Any) -> Variables:
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _load_best(
    job: Job, folder: pathlib.Path, options: FitOptions
) -> tuple[Variables, dict[str, Any]]:
    """Return the best variables, and what is known of them."""
    variables, metadata = training.load_params(folder / "checkpoints/best")
    series = training.read_metrics(folder / "metrics.jsonl")
    seconds = {}
    if "seconds_per_step" in series:  # the first step, which compiles, has none
        values = series["seconds_per_step"].values
        seconds["seconds_per_step"] = float(np.median(values))
    return variables, {
        "num_steps": options.num_steps,
        "best_step": metadata["best"]["step"],
        job.best.replace("/", "_"): metadata["best"]["value"],
        **seconds,
    }
