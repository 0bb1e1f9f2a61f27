"""Weights of networks in files: safetensors or npz, never a pickle."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax import files
from symmerge_jax.storage import _shards, _tensor_names
from symmerge_jax.typing import Params

_ARCHITECTURE = "architecture"
_FORMAT = {"format": "symmerge_jax.weights", "version": "1"}
_SUFFIXES = (".safetensors", ".npz")


def save(
    path: str | bytes | os.PathLike,
    params: Params,
    *,
    architecture: Mapping[str, Any] | None = None,
) -> None:
    """Write parameters to a `.safetensors` or `.npz` file.

    Tensors are named by their path, `dense_0/kernel`; "~" and "/" within a key are
    written "~0" and "~1". `load` returns the same nested dict, and checks the SHA-256
    in the file. The file is written completely or not at all.

    Args:
      path: the file; its suffix chooses the format. `.npz` knows no bfloat16.
      params: parameters of one network or a batch: nested dicts with strings as keys.
      architecture: description for `networks.build`, stored beside the tensors.

    Raises:
      ValueError: another suffix, or a key or tensor that storing would change; names
        it.
      TypeError: anything but nested dicts of arrays, or a description that is not JSON.
      OSError: if the file cannot be written; names it.

    Example:
      >>> import tempfile, jax, symmerge_jax
      >>> from symmerge_jax import networks
      >>> architecture = {"kind": "mlp", "layer_sizes": [4, 3, 2], "activation": "relu"}
      >>> params = networks.build(architecture).init(jax.random.key(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = folder + "/a.safetensors"
      ...     symmerge_jax.save(path, params, architecture=architecture)
      ...     loaded = symmerge_jax.load(path)
      ...     symmerge_jax.load_architecture(path) == architecture
      True
      >>> loaded["dense_0"]["kernel"].shape
      (4, 3)
    """
    path = _path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"'{path}': weights are stored as {' or '.join(_SUFFIXES)}, got suffix"
            f" {path.suffix!r}."
        )
    leaves = _tensor_names.flatten(params, path)
    _check_leaves(path, suffix, leaves)
    note = {} if architecture is None else {_ARCHITECTURE: _text(architecture)}
    if suffix == ".safetensors":
        files.write_safetensors(path, leaves, {**_FORMAT, **note})
    else:
        texts = {name: np.array(text) for name, text in note.items()}
        with files.replacing(path) as file:
            files.write_npz(file, leaves | texts)


def load(path: str | bytes | os.PathLike) -> dict[str, Any]:
    """Read parameters from a file of weights.

    The content tells the format, not the suffix. Files that `save` wrote are checked
    against their digest, others against the sizes that they declare.

    Args:
      path: a safetensors or npz file whose tensors are named by their path; or the
        `.safetensors.index.json` of a model in several files, or its folder.

    Returns:
      Nested dict of numpy arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      OSError: if it may not be read, or is a folder without an index.
      ValueError: if the file is damaged, of another format or only a part of a model.

    Example:
      >>> import tempfile, numpy as np, symmerge_jax
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     np.savez(folder + "/a.npz", **{"dense_0/bias": np.zeros(3)})
      ...     symmerge_jax.load(folder + "/a.npz")
      {'dense_0': {'bias': array([0., 0., 0.])}}
    """
    found = _read(path)
    return _tensor_names.unflatten(found.arrays, path, is_escaped=found.is_ours)


def load_architecture(path: str | bytes | os.PathLike) -> dict[str, Any] | None:
    """Return the description of the architecture in a file, None without one.

    Raises what `load` raises.
    """
    found = _read(path)
    if found.note is None:
        return None
    architecture = files.parse_json(found.note, _path(path))
    if not isinstance(architecture, dict):
        raise ValueError(
            f"'{path}' is damaged: its architecture is {found.note[:60]}, no object."
        )
    return architecture


class _Found(NamedTuple):
    arrays: dict[str, np.ndarray]
    note: str | None
    is_ours: bool


def _read(path: str | bytes | os.PathLike) -> _Found:
    path = _path(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file: '{path}'.")
    try:
        return _read_any(path)
    except ValueError as error:
        raise ValueError(f"{error} Copy or export it again.") from error


def _read_any(path: pathlib.Path) -> _Found:
    """Read a file that is what its first bytes say."""
    if path.is_dir() and (index := _shards.find_index(path)) is not None:
        return _Found(_shards.read(index), None, False)
    with path.open("rb") as file:
        magic = file.read(16)
    if magic.startswith(b"PK"):
        arrays, is_ours = _read_npz(path)
        note = arrays.pop(_ARCHITECTURE, None)
        if not arrays:
            raise ValueError(f"'{path}' is damaged: it holds no tensors.")
        return _Found(arrays, None if note is None else str(note), is_ours)
    if magic[8:9] == b"{":
        _shards.refuse_alone(path)
        arrays, header = files.read_safetensors(path)
        is_ours = header.metadata.get("format") == _FORMAT["format"]
        if is_ours and header.digest is None:
            raise ValueError(f"'{path}' is damaged: its checksum is missing.")
        note = header.metadata.get(_ARCHITECTURE)
        return _Found(arrays, note, is_ours)
    if path.suffix.lower() == ".json":
        return _Found(_shards.read(path), None, False)
    raise ValueError(f"'{path}' is damaged, or not a file of weights: {_hint(magic)}.")


def _read_npz(path: pathlib.Path) -> tuple[dict[str, np.ndarray], bool]:
    if files.has_member(path, "data.pkl"):
        raise ValueError(
            f"'{path}' was written by torch.save, which `load` does not read:"
            " launch/canonicalize.py and launch/merge.py do; or store its tensors with"
            " safetensors.torch.save_file."
        )
    return files.read_npz(path)


def _hint(magic: bytes) -> str:
    """Return what a file is, by its first bytes, and what to do."""
    if magic.startswith(b"\x93NUMPY"):
        return "one array of numpy.save; store it with numpy.savez, by name"
    if magic.startswith(b"\x89HDF"):
        return "HDF5; store its tensors as safetensors or npz"
    if magic.startswith(b"\x80"):
        return "a Python pickle, which is never read"
    return "neither safetensors nor npz"


def _path(path: str | bytes | os.PathLike) -> pathlib.Path:
    return pathlib.Path(os.fsdecode(path)).expanduser()


def _text(architecture: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(architecture))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"the architecture is not valid JSON: {error}") from error


def _check_leaves(
    path: pathlib.Path, suffix: str, leaves: Mapping[str, np.ndarray]
) -> None:
    """Refuse tensors that would come back from the file as something else."""
    is_npz = suffix == ".npz"
    for name, leaf in leaves.items():
        is_known = leaf.dtype.kind in "biufc" and leaf.dtype.type.__module__ == "numpy"
        if not (is_known if is_npz else files.is_storable(leaf.dtype)):
            hint = ": cast it, or use .safetensors" if is_npz else ": cast it"
            raise ValueError(
                f"'{path}': {suffix} cannot hold '{name}' of type {leaf.dtype}{hint}."
            )
    reserved = _ARCHITECTURE if is_npz else files.METADATA
    if reserved in leaves:
        raise ValueError(
            f"'{path}': {suffix} cannot hold a tensor called {reserved!r}: rename it,"
            f" or use {'.safetensors' if is_npz else '.npz'}."
        )
