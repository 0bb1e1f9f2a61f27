"""Weights of networks in files: safetensors or npz, never a pickle."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from symmerge_jax import files
from symmerge_jax.storage import (
    _archives,
    _checkpoint,
    _formats,
    _shards,
    _tensor_names,
)
from symmerge_jax.typing import Params

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
    path = _checkpoint.expand(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"'{path}': weights are stored as {' or '.join(_SUFFIXES)}, got suffix"
            f" {path.suffix!r}."
        )
    leaves = _tensor_names.flatten(params, path)
    _check_leaves(path, suffix, leaves)
    note = {} if architecture is None else {_archives.NOTE: _text(architecture)}
    if suffix == ".safetensors":
        files.write_safetensors(path, leaves, {**_shards.OURS, **note})
    else:
        texts = {name: np.array(text) for name, text in note.items()}
        with files.replacing(path) as file:
            files.write_npz(file, leaves | texts)


def load(path: str | bytes | os.PathLike) -> dict[str, Any]:
    """Read parameters from a checkpoint of any format (`storage.open_checkpoint`).

    The content tells the format, not the suffix. Files that `save` wrote are checked
    against their digest, others against the sizes that they declare.

    Args:
      path: a file whose tensors are named by their path, or the folder of a model in
        several files.

    Returns:
      Nested dict of numpy arrays; what is no tensor is left out.

    Raises:
      FileNotFoundError: if there is no such file.
      OSError: if it may not be read, or is a folder without a checkpoint.
      ValueError: if the file is damaged, of another format or only a part of a model.

    Example:
      >>> import tempfile, numpy as np, symmerge_jax
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     np.savez(folder + "/a.npz", **{"dense_0/bias": np.zeros(3)})
      ...     symmerge_jax.load(folder + "/a.npz")
      {'dense_0': {'bias': array([0., 0., 0.])}}
    """
    found = _formats.open_checkpoint(path)
    arrays = {name: np.array(tensor) for name, tensor in found.tensors.items()}
    return _tensor_names.unflatten(arrays, path, is_escaped=found.is_escaped)


def load_architecture(path: str | bytes | os.PathLike) -> dict[str, Any] | None:
    """Return the description of the architecture in a file, None without one.

    Raises what `load` raises.
    """
    note = _formats.open_checkpoint(path).metadata.get(_archives.NOTE)
    if not isinstance(note, str):
        return None
    architecture = files.parse_json(note, _checkpoint.expand(path))
    if not isinstance(architecture, dict):
        raise ValueError(
            f"'{path}' is damaged: its architecture is {note[:60]}, no object."
        )
    return architecture


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
        is_storable = _archives.is_storable if is_npz else files.is_storable
        if not is_storable(leaf.dtype):
            hint = ": cast it, or use .safetensors" if is_npz else ": cast it"
            raise ValueError(
                f"'{path}': {suffix} cannot hold '{name}' of type {leaf.dtype}{hint}."
            )
    reserved = _archives.NOTE if is_npz else files.METADATA
    if reserved in leaves:
        raise ValueError(
            f"'{path}': {suffix} cannot hold a tensor called {reserved!r}: rename it,"
            f" or use {'.safetensors' if is_npz else '.npz'}."
        )
