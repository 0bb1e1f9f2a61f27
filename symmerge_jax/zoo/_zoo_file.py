"""Zoos on disk: one safetensors file, read as views of the mapped file.

Format, version 2. A safetensors file with the tensors

    params/dense_0/kernel   [N, I, O] float32, and so for every parameter
    labels, image_index, subset_index   [N] int32
    images [M, H, W] uint8 or float32, image_row [N] int32      (both or neither)
    metrics/psnr            [N] float32, and so for every metric

and the metadata `format` ("symmerge_jax.zoo"), `version` ("2"), `zoo` (a JSON object of
`architecture`, `subsets` and `provenance`) and the digest of `files.write_safetensors`,
of header and data. Version 1, which can be read, had a `sha256` of the data alone, and
none in early files. Any safetensors reader opens it.
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from symmerge_jax import files, symmetry, training
from symmerge_jax.zoo import _zoo

FORMAT = "symmerge_jax.zoo"
VERSION = "2"
_OLD_VERSION = "1"
_AGAIN = "Copy it again, or delete it and give the command that makes it again."
_DTYPES = (np.float32, np.int32, np.uint8)
_REQUIRED = ("labels", "image_index", "subset_index")
_OPTIONAL = ("images", "image_row")


def save(path: str | os.PathLike, zoo: _zoo.Zoo) -> None:
    """Write a zoo to one file, which gets its name only when it is complete.

    Args:
      path: file to write; its folder is made if missing.
      zoo: the zoo; its weights must be finite.

    Raises:
      ValueError: NaN or infinite weights.
      OSError: the file cannot be written; names it.
    """
    _zoo.check_finite(zoo)
    arrays = {
        "/".join(("params", *path)): leaf
        for path, leaf in symmetry.flatten(zoo.params).items()
    }
    arrays |= {f"metrics/{name}": values for name, values in zoo.metrics.items()}
    for name in (*_REQUIRED, *_OPTIONAL):
        if getattr(zoo, name) is not None:
            arrays[name] = getattr(zoo, name)
    description = {
        "architecture": dict(zoo.architecture),
        "subsets": list(zoo.subsets),
        "provenance": dict(zoo.provenance),
    }
    metadata = {"format": FORMAT, "version": VERSION, "zoo": json.dumps(description)}
    files.write_safetensors(path, arrays, metadata)


def load(path: str | os.PathLike, *, validate: bool = True) -> _zoo.Zoo:
    """Open the zoo in a file.

    Args:
      path: a file written by `save`.
      validate: compare the checksum and look at all weights for NaN and infinity, which
        reads the whole file.

    Returns:
      A zoo whose arrays are read-only views of the mapped file.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no zoo, an unknown version, a truncated or changed file, or bad
        weights. The message names the file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No zoo at {path}. Make one: python launch/make_zoo.py"
            " --config=launch/configs/zoo_digits.py --out=PATH for SIRENs; zoo_mlp.py,"
            " zoo_cnn.py for classifiers."
        )
    try:
        header = files.open_safetensors(path)
        _check(path, header, validate=validate)
    except ValueError as error:
        raise ValueError(f"{error} {_AGAIN}") from error
    description = files.parse_json(header.metadata.get("zoo", ""), path)
    if not isinstance(description, dict):
        raise ValueError(
            f"'{path}' is not a valid zoo: its description is {description!r}. {_AGAIN}"
        )
    num_tensors = len(header.entries)
    files.check_lengths(description.get("architecture"), path, num_tensors=num_tensors)
    arrays = {name: _view(path, entry) for name, entry in header.entries.items()}
    try:
        zoo = _zoo.create(
            description["architecture"],
            symmetry.unflatten(_strip("params/", arrays)),
            **{name: arrays[name] for name in _REQUIRED},
            **{name: arrays.get(name) for name in _OPTIONAL},
            subsets=description["subsets"],
            metrics={"/".join(k): v for k, v in _strip("metrics/", arrays).items()},
            provenance=description["provenance"],
        )
        if validate:
            _zoo.check_finite(zoo)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"'{path}' is not a valid zoo: {error}") from error
    return zoo


def load_or_make(
    path: str | os.PathLike,
    recipe: Mapping[str, Any],
    make: Callable[[pathlib.Path], _zoo.Zoo],
) -> _zoo.Zoo:
    """Return the zoo in a file, after `make(parts_dir)` has made it if it is missing.

    The recipe is all that decides the weights, as the zoo's provenance tells it. Parts
    are kept in `PATH.parts` until the zoo is complete. A zoo of another recipe is
    refused, and so is one that another process is making. Processes of one program make
    it together; the first writes the file, which all open.
    """
    path = pathlib.Path(path)
    if not training.value_from_first(path.exists()):
        with contextlib.ExitStack() as stack:
            training.on_first(lambda: stack.enter_context(files.making(path)))
            # Or else another program has made it meanwhile.
            if not training.value_from_first(path.exists()):
                parts_dir = path.with_name(path.name + ".parts")
                made = make(parts_dir)
                training.on_first(lambda: save(path, made))
                training.on_first(lambda: shutil.rmtree(parts_dir))
    with training.together():
        zoo = load(path)
    for name, value in recipe.items():
        if zoo.provenance.get(name) != value:
            raise ValueError(
                f"{path} holds another zoo: its {name} is"
                f" {zoo.provenance.get(name)!r}, wanted {value!r}. Remove the file,"
                " or choose another path."
            )
    return zoo


def _check(path: pathlib.Path, header: files.Header, *, validate: bool) -> None:
    """Refuse files of another kind, and those that have been changed."""
    metadata = header.metadata
    if metadata.get("format") != FORMAT:
        raise ValueError(f"'{path}' is a safetensors file, but holds no zoo.")
    if (version := metadata.get("version")) not in (VERSION, _OLD_VERSION):
        raise ValueError(
            f"'{path}' is a zoo of version {version!r}; this library reads version"
            f" {VERSION!r}. Install the release that wrote it."
        )
    if header.digest is None and version == VERSION:
        raise ValueError(f"'{path}' is damaged: its checksum is missing.")
    if validate and header.digest is not None:
        files.check_digest(path, header)
    elif validate and "sha256" in metadata:
        files.check_digest(path, header, data_only=metadata["sha256"])


def _view(path: pathlib.Path, entry: Any) -> np.ndarray:
    """Return a read-only array at its place in the file."""
    if entry.dtype not in _DTYPES:
        raise ValueError(f"'{path}' holds data of type {entry.dtype}, no zoo does.")
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    if entry.begin == entry.end:
        return np.zeros(entry.shape, dtype)
    return np.memmap(path, dtype, "r", entry.begin, entry.shape)


def _strip(
    prefix: str, arrays: Mapping[str, np.ndarray]
) -> dict[tuple[str, ...], np.ndarray]:
    return {
        tuple(name.removeprefix(prefix).split("/")): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }
