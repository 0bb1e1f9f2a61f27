"""The training loop: batches in, hooks on step, stops cleanly.

The loop never waits for the step it has just started. It keeps a few steps in flight
and reads their metrics in order, so it finds the first step whose loss is not finite.
JAX runs a step while the host makes the next batch, so there is no prefetching thread:
measured on a CPU, 10 ms of host work beside a step of 30 ms cost about 1 ms.
"""

import collections
import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from symmerge_jax.training import _processes
from symmerge_jax.training._state import TrainState

HookFn = Callable[[int, Any, Mapping[str, float]], Any]


class Hook(NamedTuple):
    """Something to do at regular steps, and after the last one.

    Attributes:
      every: period in steps.
      fn: `fn(step, state, metrics)` with the number of finished steps, the state
        after them and the mean of each metric since the hook last fired. The state must
        not be kept: the next step reuses its memory.
      needs_state: whether the hook needs the state. If not it gets None, and the loop
        need not wait for the step to finish.
      on_stop: whether to fire when a signal ends the run, too.
      in_all: whether all processes fire it that share a state, not the first alone.
    """

    every: int
    fn: HookFn
    needs_state: bool = True
    on_stop: bool = False
    in_all: bool = False


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after the hooks for that case had fired.

    Attributes:
      signal_number: the signal.
      step: number of finished steps.
    """

    def __init__(self, signal_number: int, step: int, num_steps: int, saved: bool):
        self.signal_number = signal_number
        self.step = step
        name = signal.Signals(signal_number).name
        end = (
            "The state is saved: start it again to resume."
            if saved
            else "No hook saved the state."
        )
        super().__init__(f"Stopped by {name} after step {step} of {num_steps}. {end}")


def train(
    state: TrainState,
    step_fn: Callable[[TrainState, PyTree], tuple[TrainState, dict[str, Any]]],
    batch_fn: Callable[[int], PyTree],
    *,
    num_steps: int,
    hooks: Sequence[Hook] = (),
    max_in_flight: int = 4,
) -> TrainState:
    """Train from `state.step` to `num_steps`.

    A step depends on the state and on `batch_fn(step)` alone, so a run that is stopped
    and resumed ends in the same state, bit for bit, as one without a stop. Hooks fire
    when `step % every == 0` and on the last step, in their order. The metrics gain
    `seconds_per_step`: the time of steps alone, without hooks that need the state and
    without the first step, which compiles.

    SIGINT (ctrl-C) and SIGTERM let the running step end, fire the hooks with `on_stop`
    and raise `Interrupted`; a second signal aborts at once. The handlers are installed
    only in the main thread, and restored at the end.

    If devices of many processes share the state, hooks get the own copy of a process,
    and only the first one calls those that are not `in_all`. SIGTERM to one of them
    then ends all after the same step, as JAX arranges it, and SIGINT aborts at once.

    Args:
      state: where to start; donated to the first step.
      step_fn: `step_fn(state, batch) -> (state, metrics)`, metrics with `loss`.
      batch_fn: batch of the step, counted from 0; a pure function of it.
      num_steps: number of finished steps to reach.
      hooks: what to do between steps.
      max_in_flight: number of steps whose metrics may be outstanding, >= 1.

    Returns:
      The final state; `state` itself when it has reached `num_steps` already.

    Raises:
      ValueError: a state beyond `num_steps`, or a period below 1.
      FloatingPointError: the loss or the norm of the gradient is not finite; names the
        first such step. No hook has fired for it or a later step.
      Interrupted: a signal ended the run.
    """
    step = int(state.step)
    if step > num_steps:
        raise ValueError(f"The state is at step {step}, beyond num_steps={num_steps}.")
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}.")
    for hook in hooks:
        if hook.every < 1:
            raise ValueError(f"A hook must fire every >= 1 steps, got {hook.every}.")

    shared = _processes.is_shared(state.step)
    if shared and not _processes.is_first():
        hooks = [h if h.in_all else h._replace(fn=_do_nothing) for h in hooks]
    meter = _Meter(hooks, num_steps)
    stop = 0
    with _Signals(not shared) as signals:
        while step < num_steps:
            state, metrics = step_fn(state, batch_fn(step))
            step += 1
            meter.push(step, metrics)
            stop = _processes.stop_signal(step) if shared else signals.received
            due = [
                index
                for index, hook in enumerate(hooks)
                if (hook.needs_state and _is_due(hook, step, num_steps))
                or (stop and hook.on_stop)
            ]
            wait = due or stop or step == num_steps
            meter.drain(0 if wait else max_in_flight)
            with meter.paused(), _sharing(state, shared and due) as seen:
                for index in due:
                    hooks[index].fn(step, seen, meter.means(index))
            if stop:
                break
    if stop := stop or signals.received:
        saved = any(hook.on_stop for hook in hooks)
        raise Interrupted(stop, step, num_steps, saved)
    return state


def _is_due(hook: Hook, step: int, num_steps: int) -> bool:
    return step % hook.every == 0 or step == num_steps


def _do_nothing(*_: Any) -> None:
    """Take the place of a hook that another process calls."""


@contextlib.contextmanager
def _sharing(state: TrainState, shared: Any) -> Iterator[TrainState]:
    """Give hooks the state, or of one that processes share the own copy."""
    if not shared:
        yield state
        return
    own = _processes.own_copy(state)
    with _processes.together():
        yield own


class _Meter:
    """Reads the metrics of finished steps in order and fires hooks without state."""

    def __init__(self, hooks: Sequence[Hook], num_steps: int):
        self._hooks = hooks
        self._num_steps = num_steps
        self._pending = collections.deque()
        self._sums = [collections.defaultdict(float) for _ in hooks]
        self._counts = [collections.Counter() for _ in hooks]
        self._last_time: float | None = None

    def push(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._pending.append((step, metrics))

    def drain(self, num_left: int) -> None:
        """Wait until at most `num_left` steps are outstanding."""
        while len(self._pending) > num_left:
            step, metrics = self._pending.popleft()
            metrics = {k: float(v) for k, v in jax.device_get(metrics).items()}
            _check_finite(step, metrics)
            now = time.perf_counter()
            if self._last_time is not None:
                metrics["seconds_per_step"] = now - self._last_time
            self._last_time = now
            for index, hook in enumerate(self._hooks):
                for name, value in metrics.items():
                    self._sums[index][name] += value
                    self._counts[index][name] += 1
                if not hook.needs_state and _is_due(hook, step, self._num_steps):
                    hook.fn(step, None, self.means(index))

    def means(self, index: int) -> dict[str, float]:
        """Return the means since the last call for this hook, and start again."""
        sums, counts = self._sums[index], self._counts[index]
        means = {name: total / counts[name] for name, total in sums.items()}
        sums.clear()
        counts.clear()
        return means

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock of `seconds_per_step`."""
        start = time.perf_counter()
        yield
        if self._last_time is not None:
            self._last_time += time.perf_counter() - start


def _check_finite(step: int, metrics: Mapping[str, float]) -> None:
    for name, words in (("loss", "The loss"), ("grad_norm", "The gradient's norm")):
        value = metrics.get(name, 0.0)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{words} is {value} at step {step}: lower the learning rate or"
                " clip_norm, or check the data for NaN."
            )


class _Signals:
    """Notes the first SIGINT or SIGTERM; a second one aborts at once."""

    def __init__(self, watch: bool):
        self._watch = watch
        self.received: int = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        is_main = threading.current_thread() is threading.main_thread()
        if self._watch and is_main:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None: a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, _: object) -> None:
        if self.received:
            raise KeyboardInterrupt(f"Aborted by a second signal {number}.")
        self.received = number
