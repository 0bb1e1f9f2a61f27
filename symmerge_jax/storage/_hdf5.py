"""HDF5 files, as Keras writes weights: `model.weights.h5`."""

import functools
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax import files
from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named, Tensor


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "HDF5 files are read with h5py: pip install 'symmerge_jax[keras]'."
        ) from error
    return h5py


def _read(path: pathlib.Path, key: str | None) -> Checkpoint:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            data = np.memmap(path, np.uint8, "r")
            tensors = {n: _open(path, n, x, data) for n, x in _datasets(file)}
            metadata = {name: str(value) for name, value in file.attrs.items()}
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged or no HDF5 file ({error}).") from error
    if not tensors:
        raise ValueError(f"'{path}' holds no tensors.")
    return Checkpoint(path=path, format=HDF5.name, tensors=tensors, metadata=metadata)


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of numbers in a file by name."""
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        item = file[name]
        if isinstance(item, _h5py().Dataset) and item.dtype.kind in "biufcV":
            yield name, item


def _open(path: pathlib.Path, name: str, dataset: Any, data: np.ndarray) -> Tensor:
    """Return a dataset as a view of the file, where it is stored in one piece."""
    dtype = _dtype(dataset)
    begin = dataset.id.get_offset()
    if begin is not None and dataset.chunks is None and not dataset.external:
        end = begin + dataset.size * dtype.itemsize
        return data[begin:end].view(dtype).reshape(dataset.shape)
    read = functools.partial(_load, path, name, dtype)
    return files.LazyArray(dataset.shape, dtype, read)


def _load(path: pathlib.Path, name: str, dtype: np.dtype) -> np.ndarray:
    with _h5py().File(path, "r") as file:
        return np.asarray(file[name][()]).view(dtype)


def _dtype(dataset: Any) -> np.dtype:
    """Return the type of a dataset; Keras notes bfloat16, which HDF5 does not know."""
    noted = dataset.attrs.get("dtype")
    if noted == "bfloat16" and dataset.dtype.itemsize == 2:
        return np.dtype(jnp.bfloat16)
    return dataset.dtype


def _rewrite(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    """Copy a file and write numbers into it: groups and attributes stay."""
    shutil.copyfile(like.path, target)
    with _h5py().File(target, "r+") as file:
        for name, array in arrays:
            dataset = file[name]
            dataset[...] = np.asarray(array).view(dataset.dtype)


HDF5 = Format("HDF5", (".h5", ".hdf5"), None, _read, _rewrite)
