"""Tensors of a PyTorch checkpoint, read without PyTorch and without running its code.

A checkpoint is a zip file with a pickle, `data.pkl`, and one raw member per storage,
`data/0`, `data/1`, .... Unpickling may run any code, so the pickle is read with an
unpickler that knows nothing but ordered dicts and the way in which tensors refer to
their storages; any other global is refused. What the pickle can reach are objects made
anew for each file, so that it cannot change this library either.
"""

import collections
import math
import os
import pathlib
import pickle
import zipfile
import zlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
    "BFloat16Storage": jnp.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}


class _Storage(NamedTuple):
    dtype: str
    name: str


class _Tensor(NamedTuple):
    storage: Any
    offset: Any
    shape: Any
    stride: Any


def load_torch_state_dict(
    path: str | os.PathLike, *, key: str | None = None
) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch state dict as numpy arrays.

    No code in the file is run and torch is not needed.

    Args:
      path: a file written by `torch.save(model.state_dict(), path)`.
      key: entry of the file that holds the state dict, where it is not the whole file:
        "state_dict" or "model" in many checkpoints.

    Returns:
      Arrays by name, in the order of the file.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, one that holds anything but tensors, or one in the
        format before PyTorch 1.6. The message names the file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no PyTorch checkpoint, is truncated, or is older than PyTorch"
            " 1.6. Copy it again, or save it again with torch.save."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive, key)
    # zipfile raises RuntimeError for members that are encrypted or oddly packed.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,
    ) as error:
        raise ValueError(f"{path} is damaged: {error}. Copy it again.") from error


def _read_archive(path, archive, key):
    pickles = [n for n in archive.namelist() if n.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise ValueError(
            f"{path} is a zip file, but no checkpoint of tensors: it has"
            f" {len(pickles)} members named data.pkl."
        )
    root = pickles[0].removesuffix("data.pkl")
    with archive.open(pickles[0]) as file:
        try:
            content = _Unpickler(file, path).load()
        # Bytes that are no pickle can raise nearly any of these.
        except (
            pickle.UnpicklingError,
            AttributeError,
            EOFError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(f"{path}: {error}") from error
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{path} has no entry {key!r}.")
        content = content[key]
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path} holds {type(content).__name__}, expected a dict of tensors."
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            kind = type(value).__name__
            raise ValueError(
                f"{path} holds more than tensors: entry {name!r} is of type {kind}. If"
                " one entry is the state dict, name it with key=...; or save"
                " model.state_dict() alone."
            )
    order = "<"
    if f"{root}byteorder" in archive.namelist():
        order = ">" if archive.read(f"{root}byteorder") == b"big" else "<"
    storages: dict[_Storage, np.ndarray] = {}
    return {
        name: _array(path, archive, root, order, tensor, storages, name)
        for name, tensor in content.items()
    }


def _array(path, archive, root, order, tensor, storages, name):
    """Return a tensor as an array of its own."""
    storage, offset, shape, stride = tensor
    numbers = (offset, *shape, *stride)
    if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(stride):
        raise ValueError(f"{path}: tensor {name!r} has an impossible layout {tensor}.")
    if storage not in storages:
        dtype = np.dtype(_DTYPES[storage.dtype]).newbyteorder(order)
        raw = archive.read(f"{root}data/{storage.name}")
        if len(raw) % dtype.itemsize:
            raise ValueError(f"{path}: the data of tensor {name!r} is truncated.")
        storages[storage] = np.frombuffer(raw, dtype)
    data = storages[storage]
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if math.prod(shape) == 0:
        return np.zeros(shape, _DTYPES[storage.dtype])
    if math.prod(shape) > len(data):
        raise ValueError(
            f"{path}: tensor {name!r} of the shape {shape} has only {len(data)} numbers"
            " in the file; it is truncated, or an expanded view that must be saved as"
            " a contiguous tensor."
        )
    if last >= len(data):
        raise ValueError(
            f"{path}: the data of tensor {name!r} is truncated: {len(data)} numbers,"
            f" expected at least {last + 1}."
        )
    strides = [s * data.itemsize for s in stride]
    view = np.lib.stride_tricks.as_strided(data[offset:], shape, strides)
    return view.astype(_DTYPES[storage.dtype])


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows tensors and dicts, and nothing else."""

    def __init__(self, file, path):
        super().__init__(file)
        self._path = path

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Tensor(
                _checked(storage), offset, tuple(shape), tuple(stride)
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(
            f"refused, because the file refers to {module}.{name} and not to tensors"
            " only; it could run code. Save model.state_dict() instead"
        )

    def persistent_load(self, pid):
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"refused, unknown reference {pid!r}")
        _, dtype, name, *_ = pid
        if dtype not in _DTYPES or not isinstance(name, str):
            raise pickle.UnpicklingError(f"refused, unknown storage {pid!r}")
        return _Storage(dtype, name)


def _checked(storage):
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("refused, a tensor without a storage")
    return storage
