"""Zoos on disk: one safetensors file, read as views of the mapped file.

Format, version 1. A safetensors file (8 bytes little-endian length of the header, the
header as JSON, then the raw little-endian arrays at the offsets that it names) with the
tensors

    params/dense_0/kernel   [N, I, O] float32, and so for every parameter
    labels, image_index, subset_index   [N] int32
    images [M, H, W] uint8 or float32, image_row [N] int32      (both or neither)
    metrics/psnr            [N] float32, and so for every metric

and the metadata `format` ("symmerge_jax.zoo"), `version` ("1"), `zoo` (a JSON object of
`architecture`, `subsets` and `provenance`) and `sha256` of all bytes behind the header;
early files of version 1 have no checksum. Any safetensors reader opens it.
"""

import hashlib
import json
import math
import os
import pathlib

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.zoo import _zoo

FORMAT = "symmerge_jax.zoo"
VERSION = "1"
_AGAIN = "Copy it again, or delete it and give the command that makes it again."
_DTYPES = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}


def save(path: str | os.PathLike, zoo: _zoo.Zoo) -> None:
    """Write a zoo to one file.

    The file gets its name only when it is complete.

    Args:
      path: file to write; its folder is made if it is missing.
      zoo: the zoo; its weights must be finite.

    Raises:
      ValueError: NaN or infinite weights.
    """
    _zoo.check_finite(zoo)
    arrays = {
        "/".join(("params", *path)): leaf
        for path, leaf in symmetry.flatten(zoo.params).items()
    }
    arrays |= {f"metrics/{name}": values for name, values in zoo.metrics.items()}
    for name in ("labels", "image_index", "subset_index", "images", "image_row"):
        if getattr(zoo, name) is not None:
            arrays[name] = getattr(zoo, name)
    description = {
        "architecture": dict(zoo.architecture),
        "subsets": list(zoo.subsets),
        "provenance": dict(zoo.provenance),
    }
    metadata = {"format": FORMAT, "version": VERSION, "zoo": json.dumps(description)}
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        _write(file, arrays, metadata)
    os.replace(partial, path)


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
    header, start = _read_header(path)
    metadata = header.pop("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but holds no zoo.")
    if metadata.get("version") != VERSION:
        raise ValueError(
            f"{path} is a zoo of version {metadata.get('version')!r}; this library"
            f" reads version {VERSION!r}. Install the release that wrote it."
        )
    stop = start + max(entry["data_offsets"][1] for entry in header.values())
    if path.stat().st_size != stop:
        raise ValueError(
            f"{path} is truncated or damaged: {path.stat().st_size} bytes, expected"
            f" {stop}. {_AGAIN}"
        )
    if validate and "sha256" in metadata:
        _check_sum(path, start, metadata["sha256"])
    arrays = {name: _view(path, start, entry) for name, entry in header.items()}
    description = _describe(path, metadata)
    try:
        zoo = _zoo.create(
            description["architecture"],
            symmetry.unflatten(_strip("params/", arrays)),
            labels=arrays["labels"],
            image_index=arrays["image_index"],
            subset_index=arrays["subset_index"],
            subsets=description["subsets"],
            images=arrays.get("images"),
            image_row=arrays.get("image_row"),
            metrics={"/".join(k): v for k, v in _strip("metrics/", arrays).items()},
            provenance=description["provenance"],
        )
        if validate:
            _zoo.check_finite(zoo)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is no sound zoo: {error}") from error
    return zoo


def _write(file, arrays, metadata):
    """Write a safetensors file; equal contents give equal bytes.

    The safetensors library orders the metadata at random, so it is not used here.
    """
    codes = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
    # Large items first, so that every array begins at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    arrays = {name: _little_endian(arrays[name]) for name in names}
    checksum = hashlib.sha256()
    for array in arrays.values():
        checksum.update(array.data)
    header: dict = {"__metadata__": {**metadata, "sha256": checksum.hexdigest()}}
    stop = 0
    for name in names:
        start, stop = stop, stop + arrays[name].nbytes
        header[name] = {
            "dtype": codes[arrays[name].dtype.newbyteorder("=")],
            "shape": list(arrays[name].shape),
            "data_offsets": [start, stop],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(array.data)


def _little_endian(array):
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _check_sum(path, start, expected):
    """Refuse a file whose data, from `start` on, are not those that were written."""
    with path.open("rb") as file:
        file.seek(start)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is damaged: its data do not have the checksum in its header."
            f" {_AGAIN}"
        )


def _read_header(path):
    """Return the header of a safetensors file and the offset of its data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(
                f"{path} is no zoo file, or is truncated in its header. {_AGAIN}"
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(
                f"{path} is no zoo file: no JSON header. {_AGAIN}"
            ) from error
    if not _is_header(header):
        raise ValueError(f"{path} is no zoo file: no header of arrays. {_AGAIN}")
    return header, 8 + length


def _is_header(header) -> bool:
    """Whether JSON has the form of a safetensors header with at least one array."""
    if not isinstance(header, dict):
        return False
    if not isinstance(header.get("__metadata__", {}), dict):
        return False
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    return bool(entries) and all(map(_is_entry, entries))


def _is_entry(entry) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    lists = entry.get("shape"), entry.get("data_offsets")
    return (
        all(
            isinstance(numbers, list)
            and all(type(n) is int and n >= 0 for n in numbers)
            for numbers in lists
        )
        and len(entry["data_offsets"]) == 2
    )


def _describe(path, metadata):
    """Return architecture, subsets and provenance as the metadata hold them."""
    try:
        found = json.loads(metadata["zoo"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no sound zoo: its description is missing or no JSON. {_AGAIN}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} is no sound zoo: its description is {found!r}. {_AGAIN}"
        )
    return found


def _view(path, start, entry):
    """Return a read-only array at its place in the file."""
    begin, end = entry["data_offsets"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{path} holds data of type {entry['dtype']!r}, no zoo does.")
    dtype = np.dtype(_DTYPES[entry["dtype"]]).newbyteorder("<")
    shape = tuple(entry["shape"])
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"{path} is damaged: its header contradicts itself.")
    if begin == end:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start + begin, shape)


def _strip(prefix, arrays):
    return {
        tuple(name.removeprefix(prefix).split("/")): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }
