"""Arrays of a run in files: there as a whole, or not at all."""

import pathlib
import zipfile
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

from symmerge_jax import training

Arrays = Mapping[str, np.ndarray]
Job = TypeVar("Job", bound=Hashable)


def complete(
    files: Mapping[Job, pathlib.Path],
    make: Callable[[Any], Arrays],
    description: str,
    unit: str = "cell",
) -> dict[Job, dict[str, np.ndarray]]:
    """Make the arrays that no file holds yet, and return those of all files.

    Args:
      files: the `.npz` file of each piece of work, in the order of doing.
      make: returns the arrays of a piece; their `seconds` are shown beside progress.
      description: what is being done.
      unit: what a piece is called.
    """
    todo = [job for job, file in files.items() if not file.exists()]
    done = len(files) - len(todo)
    with training.Progress(len(files), description, unit, initial=done) as progress:
        for job in todo:
            arrays = make(job)
            save_arrays(files[job], arrays)
            shown = {"seconds"} & arrays.keys()
            progress.update(1, **{name: float(arrays[name]) for name in shown})
    return {job: load_arrays(file) for job, file in files.items()}


def save_arrays(file: pathlib.Path, arrays: Arrays) -> None:
    """Write arrays to an `.npz` file under a temporary name, then rename it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)  # pyright: ignore
    temporary.replace(file)


def load_arrays(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file; raises ValueError where it is damaged."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"'{file}' is damaged ({error}): delete it and start again."
        ) from error
