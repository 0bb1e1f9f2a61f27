"""Arrays of a run in files: there as a whole, or not at all."""

import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np


def save_arrays(file: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
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
