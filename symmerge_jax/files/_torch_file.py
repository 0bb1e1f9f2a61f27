"""Tensors of a PyTorch checkpoint, read without PyTorch and without running its code.

A checkpoint is a zip file with a pickle, `data.pkl`, and one raw member per storage,
`data/0`, `data/1`, .... The pickle is parsed and not unpickled (`_torch_pickle`), and
every size that it or the zip file declares is compared with the size of the file before
numbers are read.
"""

import difflib
import math
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from symmerge_jax.files import _torch_pickle

_OLD = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the first pickle
_MAX_PICKLE = 2**24  # bytes; some 200 for a tensor
_MAX_DEPTH = 4  # of a state dict in a checkpoint
_MAX_SHARED = 8  # tensors of one storage, on average

# What zipfile raises for damaged files, beside KeyError for a missing member:
# NotImplementedError, a RuntimeError, for packings that it does not know.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError),
)


def is_torch_file(path: str | os.PathLike) -> bool:
    """Return whether a file was written by `torch.save`, sound or damaged."""
    path = pathlib.Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(300)
        if start.startswith(_OLD):
            return True
        if not start.startswith(b"PK"):
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                return bool(_pickles(archive.namelist()))
        except _DAMAGE:
            return b"/data.pkl" in start  # the first member


def load_torch_state_dict(
    path: str | os.PathLike, *, key: str | None = None
) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch state dict as numpy arrays.

    No code in the file is run and torch is not needed.

    Args:
      path: a file written by `torch.save(model.state_dict(), path)`, or a checkpoint
        that holds a state dict beside other things.
      key: entry of the file that holds the state dict, "state_dict" or "a.b" for one in
        a dict in a dict. None for the whole file or, where that is more than tensors,
        for the one dict of tensors in it.

    Returns:
      Arrays by name, in the order of the file.

    Raises:
      OSError: no such file, or one that may not be read.
      ValueError: a damaged file, one that holds anything but tensors and plain values,
        several dicts of tensors without `key`, or the format before PyTorch 1.6. The
        message names the file.
    """
    return find_torch_state_dict(path, key=key)[1]


def find_torch_state_dict(
    path: str | os.PathLike, *, key: str | None = None
) -> tuple[str, dict[str, np.ndarray]]:
    """Return where in a file a state dict is, and its tensors.

    Args:
      path: as for `load_torch_state_dict`, and so are the errors.
      key: likewise.

    Returns:
      The dotted key, "" for the whole file, and arrays by name.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"No checkpoint {path}.")
    with path.open("rb") as file:
        try:
            with _open(file) as archive:
                return _read(archive, path.stat().st_size, key)
        except _Refused as error:
            raise ValueError(f"{path}: {error}.") from error
        except (*_DAMAGE, KeyError) as error:
            raise ValueError(f"{path} is damaged: {error}. Copy it again.") from error


class _Refused(ValueError):
    """A file that can be read and is not what is wanted."""


def _open(file: BinaryIO) -> zipfile.ZipFile:
    if file.read(len(_OLD)) == _OLD:
        raise _Refused(
            "the format is older than PyTorch 1.6. Load it in PyTorch and save it again"
            " with torch.save"
        )
    try:
        return zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise _Refused(
            f"no PyTorch checkpoint, or truncated ({error}). Copy it again, or save it"
            " again with torch.save"
        ) from error


def _pickles(names: list[str]) -> list[str]:
    return [name for name in names if name.split("/")[1:] == ["data.pkl"]]


def _read(
    archive: zipfile.ZipFile, num_bytes: int, key: str | None
) -> tuple[str, dict[str, np.ndarray]]:
    names = archive.namelist()
    pickles = _pickles(names)
    if len(pickles) != 1:
        raise _Refused(
            f"a zip file, but no checkpoint of tensors: it has {len(pickles)} members"
            " named data.pkl"
        )
    size = _member(archive, pickles[0]).file_size
    if size > min(num_bytes, _MAX_PICKLE):
        raise _Refused(f"its pickle is said to have {size} bytes, too many")
    try:
        content = _torch_pickle.parse(archive.read(pickles[0]))
    except ValueError as error:
        raise _Refused(str(error)) from error
    key, tensors = _find(content, key)
    root = pickles[0].removesuffix("data.pkl")
    storages = {}
    for name, tensor in tensors.items():
        member = _member(archive, f"{root}data/{tensor.storage.name}")
        _check(name, tensor, member)
        storages[tensor.storage] = member, _dtype(tensor)
    _check_total(num_bytes, tensors, [member for member, _ in storages.values()])
    order = "<"
    if f"{root}byteorder" in names:
        size = _member(archive, f"{root}byteorder").file_size
        is_big = size == 3 and archive.read(f"{root}byteorder") == b"big"
        order = ">" if is_big else "<"
    arrays = {}
    for storage, (member, dtype) in storages.items():
        raw = np.frombuffer(archive.read(member), dtype.newbyteorder(order))
        arrays[storage] = raw.astype(dtype, copy=False)
    return key, {name: _view(arrays[t.storage], t) for name, t in tensors.items()}


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return a member whose size in the file is that of its content.

    What is compressed may be any size when it is read, whatever the file says.
    """
    member = archive.getinfo(name)
    is_plain = member.compress_type == zipfile.ZIP_STORED
    if not is_plain or member.compress_size != member.file_size:
        raise _Refused(
            f"its member {name!r} is compressed, which torch.save never does, or"
            " damaged. Save it again with torch.save"
        )
    return member


def _check(name: str, tensor: _torch_pickle.Tensor, member: zipfile.ZipInfo) -> None:
    """Refuse a tensor that is larger than its storage, or one that the file lacks."""
    storage, offset, shape, stride = tensor
    if member.file_size != storage.size * _dtype(tensor).itemsize:
        raise _Refused(
            f"the data of tensor {name!r} is truncated: {member.file_size} bytes for"
            f" {storage.size} numbers"
        )
    if math.prod(shape) > storage.size:
        raise _Refused(
            f"tensor {name!r} of the shape {shape} has only {storage.size} numbers in"
            " the file; it is truncated, or an expanded view that must be saved as a"
            " contiguous tensor"
        )
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if math.prod(shape) and last >= storage.size:
        raise _Refused(
            f"the data of tensor {name!r} is truncated: {storage.size} numbers,"
            f" expected at least {last + 1}"
        )


def _dtype(tensor: _torch_pickle.Tensor) -> np.dtype:
    return jnp.dtype(_torch_pickle.DTYPES[tensor.storage.dtype])


def _check_total(
    num_bytes: int,
    tensors: Mapping[str, _torch_pickle.Tensor],
    members: Sequence[zipfile.ZipInfo],
) -> None:
    """Refuse to read much more than the file has bytes."""
    declared = sum(member.file_size for member in members)
    if declared > num_bytes:
        raise _Refused(
            f"its tensors are said to have {declared} bytes, but the file has"
            f" {num_bytes}: it is damaged"
        )
    sizes = sum(math.prod(t.shape) * _dtype(t).itemsize for t in tensors.values())
    if sizes > _MAX_SHARED * num_bytes:
        raise _Refused(
            f"its tensors have {sizes} bytes, but the file {num_bytes}: too many of"
            " them share their data"
        )


def _view(data: np.ndarray, tensor: _torch_pickle.Tensor) -> np.ndarray:
    """Return a tensor as an array of its own."""
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, data.dtype)
    strides = [n * data.itemsize for n in tensor.stride]
    start = data[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides).copy()


def _find(content: Any, key: str | None) -> tuple[str, dict[str, _torch_pickle.Tensor]]:
    """Return the dotted key and the state dict that it names, or the only one."""
    if key is not None:
        content = _entry(content, key)
    elif found := dict(_state_dicts(content)):
        if len(found) > 1:
            names = " or ".join(f"--key={name}" for name in list(found)[:10])
            raise _Refused(
                f"it holds {len(found)} dicts of tensors. Name one: {names} (key= in"
                " Python)"
            )
        return found.popitem()
    if not isinstance(content, dict) or not content:
        raise _Refused(
            f"it holds {'an empty' if content == {} else 'a'} {type(content).__name__},"
            " expected a dict of tensors"
        )
    for name, value in content.items():
        if not _is_tensor(name, value):
            raise _Refused(
                f"it holds more than tensors: entry {name!r} is of type"
                f" {type(value).__name__}. Save model.state_dict() alone"
            )
    return key or "", content


def _state_dicts(
    content: Any, prefix: str = "", depth: int = 0, seen: set[int] | None = None
) -> Iterator[tuple[str, dict[str, _torch_pickle.Tensor]]]:
    """Yield the dotted key and the content of every dict of tensors alone, once."""
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or not content or depth > _MAX_DEPTH:
        return
    if id(content) in seen:
        return
    seen.add(id(content))
    if all(_is_tensor(name, value) for name, value in content.items()):
        yield prefix.removesuffix("."), content
        return
    for name, value in content.items():
        if isinstance(name, str):
            yield from _state_dicts(value, f"{prefix}{name}.", depth + 1, seen)


def _is_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, _torch_pickle.Tensor)


def _entry(content: Any, key: str) -> Any:
    """Return what a dotted key names; names of entries may have dots themselves."""
    names = list(content) if isinstance(content, dict) else []
    if key in names:
        return content[key]
    for name in names:
        if isinstance(name, str) and key.startswith(f"{name}."):
            return _entry(content[name], key.removeprefix(f"{name}."))
    texts = [name for name in names if isinstance(name, str)]
    near = difflib.get_close_matches(key, texts) or texts[:10]
    raise _Refused(f"no entry {key!r} in it; there are {near}")
