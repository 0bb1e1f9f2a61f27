"""Progress of work that reports the networks it has done."""

from collections.abc import Mapping
from typing import Any

from symmerge_jax import training


class Shown:
    """A callback `(done, total, stats)` that shows progress; a context manager."""

    def __init__(self, description: str):
        self._description = description
        self._progress: training.Progress | None = None
        self._done = 0

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int, stats: Mapping[str, Any] | None = None):
        if self._progress is None:
            self._progress = training.Progress(
                total, self._description, "network", initial=done
            ).__enter__()
        else:
            self._progress.update(done - self._done, **(stats or {}))
        self._done = done

    def __exit__(self, *error):
        if self._progress is not None:
            self._progress.__exit__(*error)
