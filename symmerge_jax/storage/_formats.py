"""Which formats there are, and what a file is by its first bytes."""

import errno
import os
import pathlib

from symmerge_jax import files
from symmerge_jax.storage import (
    _archives,
    _checkpoint,
    _hdf5,
    _onnx,
    _shards,
    _trees,
)
from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        _shards.FILE,
        _shards.SHARDS,
        _archives.NPZ,
        _trees.MSGPACK,
        _trees.ORBAX,
        _archives.TORCH,
        _hdf5.HDF5,
        _onnx.ONNX,
    )
}
_MAPS = (*range(0x81, 0x90), 0xDE, 0xDF)  # first bytes of msgpack, but for empty ones


def open_checkpoint(
    path: str | bytes | os.PathLike, *, key: str | None = None
) -> Checkpoint:
    """Open a checkpoint of any format, without reading its tensors into memory.

    The content tells the format, and not the suffix: safetensors, also several files
    with an index; npz; msgpack files of flax; folders of orbax; files of PyTorch, no
    code of which is run; HDF5 files of Keras (extra `keras`); ONNX models (`onnx`).
    Safetensors, plain npz and plain HDF5 are mapped into memory, deflated and orbax
    tensors are read one by one when they are asked for, the others at once.

    Args:
      path: the file; or the folder of an orbax checkpoint or of several safetensors
        files, or the index of these.
      key: of PyTorch files, which part holds the tensors, "state_dict" or "a.b".

    Returns:
      The checkpoint. A digest or checksum in the file has been compared.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it may not be read, or is a folder without a checkpoint.
      ModuleNotFoundError: a package is missing that the format needs; names the extra.
      ValueError: the file is damaged, of another format or only a part of a model.
    """
    path = _checkpoint.expand(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file: '{path}'.")
    try:
        return _format_of(path).read(path, key)
    except ValueError as error:
        if str(error).endswith("again."):
            raise
        raise ValueError(f"{error} Copy or export it again.") from error


def check_target(path: str | bytes | os.PathLike, like: Checkpoint) -> str:
    """Return the name of the format that `write_checkpoint` would write.

    Args:
      path: the file or folder to be written.
      like: the checkpoint that it follows.

    Raises:
      ValueError: no format that can be written.
    """
    return _checkpoint.choose(_checkpoint.expand(path), like, FORMATS).name


def write_checkpoint(
    path: str | bytes | os.PathLike, like: Checkpoint, arrays: Named
) -> None:
    """Write a checkpoint like another one, with other numbers in some of its tensors.

    Names, types, order, metadata and the division into files are those of `like`, and
    tensors that are not given are copied bit for bit. With safetensors and HDF5 one
    tensor is in memory at a time, and arrays may come in any order as they are made.

    Args:
      path: the file or folder, which is there as a whole or not at all. Its suffix may
        name another format: `.safetensors`, `.npz`, `.msgpack`, or `.orbax` for a
        folder; else it is that of `like`.
      like: from `open_checkpoint`.
      arrays: pairs of names in `like` and arrays of the same shapes and types; an
        iterator will do.

    Raises:
      ValueError: a format that is not written or cannot hold the content, or an array
        that does not fit its place.
      OSError: the file cannot be written; names it.
    """
    path = _checkpoint.expand(path)
    form = _checkpoint.choose(path, like, FORMATS)
    _checkpoint.write(path, like, form, arrays)


def _format_of(path: pathlib.Path) -> Format:
    """Return the format of a file by its first bytes, or of a folder by its files."""
    if path.is_dir():
        if _trees.is_orbax(path):
            return _trees.ORBAX
        if _shards.find_index(path) is not None:
            return _shards.SHARDS
        inside = [x.name for x in sorted(path.iterdir()) if _trees.is_orbax(x)]
        text = "Is a directory without a checkpoint"
        text += f", name one in it: {', '.join(inside[:5])}" if inside else ""
        raise IsADirectoryError(errno.EISDIR, text, str(path))
    with path.open("rb") as file:
        magic = file.read(16)
    if files.is_torch_file(path):
        return _archives.TORCH
    if magic.startswith(b"PK"):
        return _archives.NPZ
    if magic[8:9] == b"{":
        return _shards.FILE
    if magic.startswith(b"\x89HDF"):
        return _hdf5.HDF5
    if path.suffix.lower() == ".json":
        return _shards.SHARDS
    if path.suffix.lower() == ".onnx":
        return _onnx.ONNX
    if magic and magic[0] in _MAPS:
        return _trees.MSGPACK
    raise ValueError(f"'{path}' is damaged, or not a file of weights: {_hint(magic)}.")


def _hint(magic: bytes) -> str:
    """Return what a file is, by its first bytes, and what to do."""
    if magic.startswith(b"\x93NUMPY"):
        return "one array of numpy.save; store it with numpy.savez, by name"
    if magic.startswith(b"\x80"):
        return "a Python pickle, which is never read"
    return f"none of {', '.join(FORMATS)}"
