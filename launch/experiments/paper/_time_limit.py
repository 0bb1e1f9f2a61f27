"""A time after which a process stops as if it had been asked to, its work saved."""

import re
import signal
import time

_UNITS = {"s": 1, "m": 60, "h": 3600}
_AGAIN = 5.0
"""Seconds until a stop is tried again, where Python has swallowed the first one."""


class TimeIsUp(KeyboardInterrupt):
    """The time limit came while nothing was being trained."""


def parse(text: str) -> float:
    """Return the seconds of a text such as `540s`, `9m` or `1.5h`; refuses other text.

    Example:
      >>> parse("9m")
      540.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or not float(match[1]):
        raise ValueError(f"a time limit is given as 540s, 9m or 1.5h, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


class TimeLimit:
    """Stop the main thread after some seconds; a context manager.

    The training loop takes SIGTERM as a wish to stop: it saves its state and raises
    `training.Interrupted`, and so it is asked here. Anywhere else `TimeIsUp` is raised,
    between two steps of Python; files are written under temporary names, so that work
    that is kept in pieces loses only the one it is at.

    Args:
      seconds: None for no limit.
    """

    def __init__(self, seconds: float | None):
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self._asked = False
        self._previous = {}

    @property
    def is_up(self) -> bool:
        """Whether the time is over."""
        return self._end is not None and time.monotonic() >= self._end

    def __enter__(self):
        if self._end is not None:
            self._previous = {
                number: signal.getsignal(number)
                for number in (signal.SIGALRM, signal.SIGTERM)
            }
            signal.signal(signal.SIGALRM, self._ring)
            left = max(self._end - time.monotonic(), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, _AGAIN)
        return self

    def __exit__(self, *_):
        self.cancel()

    def cancel(self) -> None:
        """Ring no more."""
        if self._previous:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous[signal.SIGALRM])

    def _ring(self, number, frame):
        del number, frame
        if signal.getsignal(signal.SIGTERM) == self._previous[signal.SIGTERM]:
            raise TimeIsUp("the time is up")
        if not self._asked:
            self._asked = True
            signal.raise_signal(signal.SIGTERM)
