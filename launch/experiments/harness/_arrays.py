"""Arrays of a run in files: there as a whole, or not at all."""

import pathlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from absl import logging

from symmerge_jax import files, training

Arrays = Mapping[str, np.ndarray]
Job = TypeVar("Job", bound=Hashable)


def complete(
    files: Mapping[Job, pathlib.Path],
    make: Callable[[Any], Arrays],
    description: str,
    unit: str = "cell",
) -> dict[Job, dict[str, np.ndarray]]:
    """Return the arrays of all files, made where a file is absent or damaged.

    Args:
      files: the `.npz` file of each piece of work, in the order of doing.
      make: returns the arrays of a piece; their `seconds` are shown beside progress.
      description: what is being done.
      unit: what a piece is called.
    """
    kept = {job: find_arrays(file) for job, file in files.items()}
    found = {job: arrays for job, arrays in kept.items() if arrays is not None}
    total, done = len(files), len(found)
    with training.Progress(total, description, unit, initial=done) as progress:
        for job in [job for job in files if job not in found]:
            arrays = make(job)
            found[job] = save_arrays(files[job], arrays)
            shown = {"seconds"} & arrays.keys()
            progress.update(1, **{name: float(arrays[name]) for name in shown})
    return {job: found[job] for job in files}


def save_arrays(file: pathlib.Path, arrays: Arrays) -> dict[str, np.ndarray]:
    """Write arrays to an `.npz` file with a digest, as a whole or not at all.

    Returns:
      The arrays as `find_arrays` would read them.
    """
    kept = {name: np.array(array) for name, array in arrays.items()}
    with files.replacing(file) as opened:
        files.write_npz(opened, kept, compress=True)
    return kept


def find_arrays(file: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of an `.npz` file; None where they have to be made (again)."""
    if not file.exists():
        return None
    try:
        return files.read_npz(file)[0]
    except ValueError as error:
        logging.warning("%s It is made again.", error)
        return None
