"""Files of results: JSON and arrays, there as a whole or not at all."""

import json
import logging
import os
import pathlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

from symmerge_jax import files, training

PathLike = str | os.PathLike
Arrays = Mapping[str, np.ndarray]
Job = TypeVar("Job", bound=Hashable)


def complete_arrays(
    paths: Mapping[Job, pathlib.Path],
    make: Callable[[Any], Arrays],
    description: str,
    unit: str = "cell",
) -> dict[Job, dict[str, np.ndarray]]:
    """Return the arrays of all files, made where a file is absent or damaged.

    Args:
      paths: the `.npz` file of each piece of work, in the order of doing.
      make: returns the arrays of a piece; their `seconds` are shown beside progress.
      description: what is being done.
      unit: what a piece is called.
    """
    kept = {job: find_arrays(path) for job, path in paths.items()}
    found = {job: arrays for job, arrays in kept.items() if arrays is not None}
    total, done = len(paths), len(found)
    with training.Progress(total, description, unit, initial=done) as progress:
        for job in [job for job in paths if job not in found]:
            arrays = make(job)
            found[job] = save_arrays(paths[job], arrays)
            shown = {"seconds"} & arrays.keys()
            progress.update(1, **{name: float(arrays[name]) for name in shown})
    return {job: found[job] for job in paths}


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
        logging.getLogger(__name__).warning("%s It is made again.", error)
        return None


def arrays_below(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names have a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def read_json(path: PathLike, remedy: str = "repair or delete it") -> Any:
    """Return what a JSON file holds.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged; names it, and the remedy.
    """
    try:
        return files.parse_json(pathlib.Path(path).read_bytes(), path)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): {remedy}") from None


def read_object(path: PathLike, remedy: str = "repair or delete it") -> dict[str, Any]:
    """Return the object that a JSON file holds; raises the errors of `read_json`."""
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object: {remedy}")
    return content


def write_json(path: PathLike, content: Any) -> None:
    """Write a JSON file, as a whole or not at all."""
    with files.replacing(path) as file:
        file.write(json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """Return what `write_json` writes."""
    return (json.dumps(content, indent=2) + "\n").encode()


def read_sealed(path: PathLike) -> dict[str, Any]:
    """Return what `write_sealed` wrote; refuses damaged files by name.

    Files of earlier versions have no checksum.
    """
    content = read_object(path)
    files.check_seal(content, path, required=False)
    content.pop(files.SEAL, None)
    return content


def write_sealed(path: PathLike, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum: one that later work computes with."""
    write_json(path, files.seal(content))
