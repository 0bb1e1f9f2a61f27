"""Hooks for the training loop: logging, progress, evaluation, checkpoints."""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from symmerge_jax.training import _checkpoint, _metrics, _progress
from symmerge_jax.training._loop import Hook
from symmerge_jax.training._state import TrainState

PathLike = str | pathlib.Path
Evaluator = Callable[[TrainState], Iterator[tuple[str, Any]]]
ResultFn = Callable[[int, TrainState, Mapping[str, float]], Any]


def log_hook(path: PathLike, every: int) -> Hook:
    """Append the means of the training metrics to ``metrics.jsonl``.

    Call :func:`truncate_metrics` with the resumed step before the run.

    Args:
      path: the file.
      every: period in steps.

    Returns:
      The hook.
    """

    def log(step, state, metrics):
        del state
        _metrics.append_metrics(path, step, metrics)

    return Hook(every, log, needs_state=False)


def progress_hook(
    progress: _progress.Progress, names: Sequence[str] = ("loss",)
) -> Hook:
    """Advance a progress display by one at each step.

    Args:
      progress: an open display, started at the step where the run starts.
      names: metrics to show.

    Returns:
      The hook.
    """

    def show(step, state, metrics):
        del step, state
        progress.update(1, **{name: metrics[name] for name in names if name in metrics})

    return Hook(1, show, needs_state=False)


def evaluation_hook(
    evaluators: Mapping[str, Evaluator],
    every: int,
    *,
    results: Sequence[ResultFn] = (),
) -> Hook:
    """Evaluate the state and hand the results on.

    Args:
      evaluators: ``evaluator(state)`` yields ``(name, value)``; its results are
        called ``<key>/<name>``. Use ``eval_params(state)`` for the parameters.
      every: period in steps.
      results: called with ``(step, state, results)`` in their order, e.g.
        :func:`write_results` and :func:`keep_best`.

    Returns:
      The hook.
    """

    def evaluate(step, state, metrics):
        del metrics
        values = {
            f"{key}/{name}": float(value)
            for key, evaluator in evaluators.items()
            for name, value in evaluator(state)
        }
        for fn in results:
            fn(step, state, values)

    return Hook(every, evaluate)


def write_results(path: PathLike) -> ResultFn:
    """Return a function that appends evaluation results to ``metrics.jsonl``."""

    def write(step, state, results):
        del state
        _metrics.append_metrics(path, step, results)

    return write


def checkpoint_hook(
    folder: PathLike,
    every: int,
    *,
    keep: int = 2,
    metadata: Mapping[str, Any] | None = None,
) -> Hook:
    """Save the latest states; also when a signal ends the run.

    Args:
      folder: folder of the checkpoints.
      every: period in steps.
      keep: number of checkpoints that stay.
      metadata: JSON values to store beside each.

    Returns:
      The hook.
    """

    def save(step, state, metrics):
        del step, metrics
        _checkpoint.save_checkpoint(folder, state, metadata=metadata, keep=keep)

    return Hook(every, save, on_stop=True)


def keep_best(
    folder: PathLike,
    metric: str,
    *,
    mode: Literal["min", "max"] = "min",
    metadata: Mapping[str, Any] | None = None,
) -> ResultFn:
    """Return a function that saves the state when a result is the best so far.

    The best value is read from the checkpoint that ``folder`` holds, so a resumed run
    goes on with it; the checkpoint's metadata gains ``best`` with ``metric``,
    ``value`` and ``step``. A value that is not finite is never the best.

    Args:
      folder: folder of the best checkpoint, apart from that of the latest.
      metric: name of the result, e.g. ``val/mse``.
      mode: whether the smallest or the largest value is the best.
      metadata: JSON values to store beside it.

    Raises:
      ValueError: for an unknown mode; in the function when the result is missing or
        the folder's checkpoint was chosen by another metric.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
    sign = 1.0 if mode == "min" else -1.0

    def save(step, state, results):
        if metric not in results:
            raise ValueError(
                f"no result {metric!r} to choose the best by; there are: "
                f"{', '.join(sorted(results))}"
            )
        value = results[metric]
        best = best_so_far()
        if value - value == 0 and (best is None or sign * value < sign * best):
            record = {"metric": metric, "mode": mode, "value": value, "step": step}
            _checkpoint.save_checkpoint(
                folder, state, metadata={**(metadata or {}), "best": record}, keep=1
            )

    def best_so_far():
        if not _checkpoint.checkpoint_steps(folder):
            return None
        record = _checkpoint.load_metadata(folder).get("best", {})
        if (record.get("metric"), record.get("mode")) != (metric, mode):
            raise ValueError(
                f"{folder} holds the best state by {record.get('metric')!r} "
                f"({record.get('mode')}), not by {metric!r} ({mode}): use another "
                "folder, or delete this one"
            )
        return record["value"]

    return save
