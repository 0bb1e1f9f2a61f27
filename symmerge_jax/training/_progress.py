"""Progress with rate and time left: a tqdm bar, or plain lines in a log file."""

import io
import sys
import time
from typing import Any

import jax

from symmerge_jax.training import _processes


class Progress:
    """Show how far a long job is; a context manager.

    On a terminal a tqdm bar is drawn. Elsewhere a line is written now and then, e.g.
    `train: 500/2000 step, 12.1 step/s, 0:02:04 left, loss 0.031`. Rate and time left
    count from the first report on, because what comes before it holds compilation.

    Args:
      total: number of units of the whole job.
      description: what is being done.
      unit: name of one unit, e.g. `step` or `network`.
      initial: units that an earlier run has done.
      min_seconds: time between two lines of a log; the last line is always written.
      stream: where to write; standard error if None, and nowhere in a process of
        `jax.distributed` that is not the first.

    Raises:
      ValueError: a negative total, or an initial value beyond it.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str = "step",
        *,
        initial: int = 0,
        min_seconds: float = 10.0,
        stream: io.TextIOBase | None = None,
    ):
        if not 0 <= initial <= total:
            raise ValueError(f"initial must be in [0, {total}], got {initial}.")
        self._total = total
        self._description = description
        self._unit = unit
        self._initial = self._done = initial
        self._min_seconds = min_seconds
        # Asked in this order, so that no device is looked for.
        if stream is None and jax.distributed.is_initialized():
            stream = None if _processes.is_first() else io.StringIO()
        self._stream: Any = sys.stderr if stream is None else stream
        self._bar: Any = None
        self._start = self._last_line = time.perf_counter()
        self._first: tuple[int, float] | None = None
        self._stats: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        self._start = self._last_line = time.perf_counter()
        if self._stream.isatty():
            import tqdm

            self._bar = tqdm.tqdm(
                total=self._total,
                initial=self._initial,
                desc=self._description,
                unit=self._unit,
                file=self._stream,
                dynamic_ncols=True,
            )
        return self

    def update(self, count: int = 1, **stats: float) -> None:
        """Count more units as done and show the latest numbers.

        Args:
          count: units done since the last report.
          **stats: numbers to show, by name.
        """
        self._done += count
        self._stats.update(stats)
        now = time.perf_counter()
        is_first, is_last = self._first is None, self._done == self._total
        if self._bar is not None:
            self._bar.set_postfix_str(self._stats_text(), refresh=False)
            if is_first:
                self._bar.n = self._bar.last_print_n = self._bar.initial = self._done
                self._bar.unpause()  # its clock starts again
                self._bar.refresh()
            else:
                self._bar.update(count)
        elif is_last or now - self._last_line >= self._min_seconds:
            self._last_line = now
            self._stream.write(self._line(now) + "\n")
            self._stream.flush()
        if is_first:
            self._first = self._done, now

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, now: float) -> str:
        parts = [f"{self._done}/{self._total} {self._unit}"]
        is_last = self._done == self._total
        if self._first is not None or is_last:
            done, start = self._first or (self._initial, self._start)
            rate = (self._done - done) / max(now - start, 1e-9)
            parts.append(f"{rate:.3g} {self._unit}/s")
            if not is_last and rate > 0:
                parts.append(f"{_clock((self._total - self._done) / rate)} left")
        if is_last:
            parts.append(_clock(now - self._start))
        if self._stats:
            parts.append(self._stats_text())
        return f"{self._description}: {', '.join(parts)}"

    def _stats_text(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self._stats.items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
