"""Weights of networks in files: safetensors or npz, never a pickle."""

import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Params

_ARCHITECTURE = "architecture"
FORMATS = (".safetensors", ".npz")


def save(
    path: str | os.PathLike,
    params: Params,
    *,
    architecture: Mapping[str, Any] | None = None,
) -> None:
    """Write parameters to a `.safetensors` or `.npz` file.

    Tensors are named by their path, `dense_0/kernel`. The file is written under a
    temporary name and then renamed.

    Args:
      path: the file; its suffix chooses the format.
      params: parameters of one network or a batch.
      architecture: description for `networks.build`, stored beside the tensors.

    Raises:
      ValueError: for another suffix.
    """
    path = _checked(path)
    leaves = {
        "/".join(name): np.ascontiguousarray(leaf)
        for name, leaf in symmetry.flatten(params).items()
    }
    note = None if architecture is None else json.dumps(dict(architecture))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    if path.suffix == ".safetensors":
        import safetensors.numpy

        metadata = None if note is None else {_ARCHITECTURE: note}
        safetensors.numpy.save_file(leaves, temporary, metadata=metadata)
    else:
        if note is not None:
            leaves[_ARCHITECTURE] = np.array(note)
        np.savez(temporary, allow_pickle=False, **leaves)
    temporary.rename(path)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read the parameters that `save` wrote.

    Args:
      path: a `.safetensors` or `.npz` file whose tensors are named by their path.

    Returns:
      Nested dict of numpy arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged or of another format.
    """
    return _read(path)[0]


def load_architecture(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the description of the architecture stored in a file, None without one.

    Errors as in `load`.
    """
    return _read(path)[1]


def _read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any] | None]:
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file: '{path}'.")
    try:
        leaves, note = _readers[path.suffix](path)
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise _damaged(path, error) from error
    tree = symmetry.unflatten({tuple(k.split("/")): x for k, x in leaves.items()})
    return tree, None if note is None else json.loads(note)


def _read_safetensors(path: pathlib.Path):
    import safetensors
    import safetensors.numpy

    try:
        with safetensors.safe_open(path, framework="np") as file:
            note = (file.metadata() or {}).get(_ARCHITECTURE)
        return safetensors.numpy.load_file(path), note
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_npz(path: pathlib.Path):
    with np.load(path, allow_pickle=False) as file:
        leaves = {name: file[name] for name in file.files}
    note = leaves.pop(_ARCHITECTURE, None)
    return leaves, None if note is None else str(note)


_readers = {".safetensors": _read_safetensors, ".npz": _read_npz}


def _checked(path: str | os.PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(
            f"'{path}': weights are stored as {' or '.join(FORMATS)}, got suffix"
            f" {path.suffix!r}."
        )
    return path


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
        f"'{path}' is damaged or no {path.suffix[1:]} file of arrays ({error}); copy or"
        " export it again."
    )
