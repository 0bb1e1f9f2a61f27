"""Hooks for the training loop: logging, progress, evaluation, checkpoints."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from symmerge_jax.training import _checkpoint, _metrics, _processes, _progress
from symmerge_jax.training._loop import Hook
from symmerge_jax.training._state import TrainState

Values = Mapping[str, float]
Evaluator = Callable[[TrainState], Iterator[tuple[str, Any]]]
ResultFn = Callable[[int, TrainState, Values], Any]


def log_hook(path: str | os.PathLike, every: int) -> Hook:
    """Return a hook that appends the means of the training metrics to a file.

    Call `truncate_metrics` with the resumed step before the run.

    Args:
      path: the file, as `metrics.jsonl`.
      every: period in steps.
    """

    def log(step: int, _: TrainState | None, metrics: Values) -> None:
        _metrics.append_metrics(path, step, metrics)

    return Hook(every, log, needs_state=False)


def progress_hook(
    progress: _progress.Progress, names: Sequence[str] = ("loss",)
) -> Hook:
    """Return a hook that advances a progress display by one at each step.

    Args:
      progress: an open display, started at the step where the run starts.
      names: metrics to show.
    """

    def show(_: int, __: TrainState | None, metrics: Values) -> None:
        progress.update(1, **{name: metrics[name] for name in names if name in metrics})

    return Hook(1, show, needs_state=False)


def evaluation_hook(
    evaluators: Mapping[str, Evaluator],
    every: int,
    *,
    results: Sequence[ResultFn] = (),
) -> Hook:
    """Return a hook that evaluates the state and passes the results on.

    Processes that share a state all evaluate it, so that `over_processes` can divide
    that among them; only the first passes results on.

    Args:
      evaluators: `evaluator(state)` yields `(name, value)`; its results are called
        `<key>/<name>`. Use `eval_params(state)` for the parameters.
      every: period in steps.
      results: called with `(step, state, results)` in their order, e.g.
        `write_results` and `keep_best`.
    """

    def evaluate(step: int, state: TrainState, _: Values) -> None:
        values = {
            f"{key}/{name}": float(value)
            for key, evaluator in evaluators.items()
            for name, value in evaluator(state)
        }
        for fn in results if _processes.is_first() else ():
            fn(step, state, values)

    return Hook(every, evaluate, in_all=True)


def write_results(path: str | os.PathLike) -> ResultFn:
    """Return a function that appends evaluation results to `metrics.jsonl`."""
    return lambda step, _, results: _metrics.append_metrics(path, step, results)


def checkpoint_hook(
    folder: str | os.PathLike,
    every: int,
    *,
    keep: int = 2,
    metadata: Mapping[str, Any] | None = None,
) -> Hook:
    """Return a hook that saves the latest states, also when a signal ends the run.

    Args:
      folder: folder of the checkpoints.
      every: period in steps.
      keep: number of checkpoints that stay.
      metadata: JSON values to store beside each.
    """

    def save(_: int, state: TrainState, __: Values) -> None:
        _checkpoint.save_checkpoint(folder, state, metadata=metadata, keep=keep)

    return Hook(every, save, on_stop=True)


def keep_best(
    folder: str | os.PathLike,
    metric: str,
    *,
    mode: Literal["min", "max"] = "min",
    metadata: Mapping[str, Any] | None = None,
) -> ResultFn:
    """Return a function that saves the state when a result is the best so far.

    The best value is read from the checkpoint in the folder, so that a resumed run
    knows it. The checkpoint's metadata gain `best` with `metric`, `mode`, `value` and
    `step`. A value that is not finite is never the best.

    Args:
      folder: folder of the best checkpoint, apart from that of the latest.
      metric: name of the result, e.g. `val/mse`.
      mode: whether the smallest or the largest value is the best.
      metadata: JSON values to store beside it.

    Raises:
      ValueError: an unknown mode; in the function, a result that is missing, or a
        checkpoint in the folder that was chosen by another metric.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
    sign = 1.0 if mode == "min" else -1.0

    def save(step: int, state: TrainState, results: Values) -> None:
        if metric not in results:
            raise ValueError(
                f"There is no result {metric!r} to choose the best by; there are"
                f" {', '.join(sorted(results))}."
            )
        value = results[metric]
        best = best_so_far()
        if math.isfinite(value) and (best is None or sign * value < sign * best):
            record = {"metric": metric, "mode": mode, "value": value, "step": step}
            _checkpoint.save_checkpoint(
                folder, state, metadata={**(metadata or {}), "best": record}, keep=1
            )

    def best_so_far() -> float | None:
        if not _checkpoint.checkpoint_steps(folder):
            return None
        record = _checkpoint.load_metadata(folder).get("best", {})
        if (record.get("metric"), record.get("mode")) != (metric, mode):
            raise ValueError(
                f"{folder} holds the best state by {record.get('metric')!r}"
                f" ({record.get('mode')}), not by {metric!r} ({mode}): use another"
                " folder, or delete this one."
            )
        return record["value"]

    return save
