"""Checkpoints in zip files: npz, and what torch saves, which is only read."""

import pathlib

import numpy as np

from symmerge_jax import files
from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named

NOTE = "architecture"
"""The member of an npz that holds the description of the architecture, as a text."""


def is_storable(dtype: np.dtype) -> bool:
    """Return whether npz knows a type of numbers."""
    return dtype.kind in "biufc" and dtype.type.__module__ == "numpy"


def _read_npz(path: pathlib.Path, key: str | None) -> Checkpoint:
    arrays, is_ours = files.open_npz(path)
    tensors = {name: array for name, array in arrays.items() if name != NOTE}
    if not tensors:
        raise ValueError(f"'{path}' is damaged: it holds no tensors.")
    note = {NOTE: str(np.asarray(arrays[NOTE]))} if NOTE in arrays else {}
    return Checkpoint(
        path=path,
        format=NPZ.name,
        tensors=tensors,
        metadata=note,
        is_escaped=is_ours,
        layout=arrays,
    )


def _rewrite_npz(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    is_packed = any(isinstance(x, files.LazyArray) for x in like.layout.values())
    with target.open("wb") as file:
        files.write_npz(file, {**like.layout, **dict(arrays)}, compress=is_packed)


def _check_content(content: Checkpoint) -> None:
    for name, tensor in content.tensors.items():
        if not is_storable(tensor.dtype):
            raise ValueError(
                f"npz cannot hold '{name}' of type {tensor.dtype}: write .safetensors."
            )
    if others := sorted(content.metadata.keys() - {NOTE}):
        raise ValueError(
            f"npz cannot hold {others[0]!r}, which is no tensor: write the format that"
            " it comes from."
        )


def _create_npz(target: pathlib.Path, content: Checkpoint) -> None:
    tensors = dict(content.tensors)
    if not content.is_escaped:  # those of our own files are
        tensors = {x.replace("~", "~0"): tensor for x, tensor in tensors.items()}
    notes = {name: np.array(text) for name, text in content.metadata.items()}
    with target.open("wb") as file:
        files.write_npz(file, {**tensors, **notes})


def _read_torch(path: pathlib.Path, key: str | None) -> Checkpoint:
    part, tensors = files.find_torch_state_dict(path, key=key)
    return Checkpoint(path=path, format=TORCH.name, tensors=tensors, part=part)


NPZ = Format(
    "npz", (".npz",), None, _read_npz, _rewrite_npz, _check_content, _create_npz
)
TORCH = Format("torch", (".pth", ".pt", ".bin"), None, _read_torch, None)
