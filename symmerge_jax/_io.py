"""Weights of networks in files: safetensors or npz, never a pickle."""

import io
import json
import os
import pathlib
import zipfile
import zlib
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
      path: the file; its suffix chooses the format. `.npz` knows no bfloat16.
      params: parameters of one network or a batch.
      architecture: description for `networks.build`, stored beside the tensors.

    Raises:
      ValueError: for another suffix, or a tensor that the format cannot hold.
    """
    path = _checked(path)
    leaves: dict[str, Any] = {
        "/".join(name): np.asarray(leaf, order="C")
        for name, leaf in symmetry.flatten(params).items()
    }
    _check_leaves(path, leaves)
    note = None if architecture is None else json.dumps(dict(architecture))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        if path.suffix == ".safetensors":
            import safetensors.numpy

            metadata = None if note is None else {_ARCHITECTURE: note}
            # Not `save_file`, whose files nobody else may read, whatever the umask.
            temporary.write_bytes(safetensors.numpy.save(leaves, metadata=metadata))
        else:
            if note is not None:
                leaves[_ARCHITECTURE] = np.array(note)
            np.savez(temporary, **leaves)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read the parameters that `save` wrote.

    Args:
      path: a `.safetensors` or `.npz` file whose tensors are named by their path.

    Returns:
      Nested dict of numpy arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      OSError: if it may not be read, or is a folder.
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
    with path.open("rb"):  # a file that may not be read is not a damaged one
        pass
    try:
        leaves, note = _readers[path.suffix](path)
        architecture = None if note is None else json.loads(note)
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise _damaged(path, error) from error
    tree = symmetry.unflatten({tuple(k.split("/")): x for k, x in leaves.items()})
    return tree, architecture


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
    # np.load would leave a damaged file open and return what is no array as bytes.
    leaves = {}
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            content = io.BytesIO(file.read(name))  # checks the CRC
            array = np.lib.format.read_array(content, allow_pickle=False)
            leaves[name.removesuffix(".npy")] = array
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


def _check_leaves(path: pathlib.Path, leaves: Mapping[str, np.ndarray]) -> None:
    """Refuse tensors that would come back from the file as something else."""
    is_npz = path.suffix == ".npz"
    for name, leaf in leaves.items():
        is_bfloat16 = leaf.dtype.name == "bfloat16" and not is_npz
        if leaf.dtype.kind not in "biufc" and not is_bfloat16:
            hint = ": cast it, or use .safetensors" if is_npz else ": cast it"
            raise ValueError(
                f"'{path}': {path.suffix} cannot hold '{name}' of type"
                f" {leaf.dtype}{hint}."
            )
    if is_npz and (reserved := {_ARCHITECTURE, "file"} & leaves.keys()):
        raise ValueError(
            f"'{path}': .npz cannot hold a tensor called {min(reserved)!r}: rename it,"
            " or use .safetensors."
        )


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(
        f"'{path}' is damaged or no {path.suffix[1:]} file of arrays ({error}); copy or"
        " export it again."
    )
