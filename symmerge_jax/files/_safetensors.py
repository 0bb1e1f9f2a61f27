"""Safetensors files with a digest, read without trusting what they declare.

Such a file is the length of its header (8 bytes, little-endian), the header as JSON,
and the raw little-endian arrays at the offsets that it names. The safetensors library
orders metadata at random; equal contents give equal bytes here. Any safetensors reader
opens the files.

The digest, in the metadata, is the SHA-256 of everything else: the other metadata, and
name, type, shape and bytes of each tensor.
"""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax.files import _json, _replace

DIGEST = "symmerge_jax.sha256"
METADATA = "__metadata__"
"""Key of what a header says beside the tensors."""

_MAX_HEADER = 100_000_000  # bytes; as the safetensors library
_MAX_DIMS = 32
_CHUNK = 1 << 20
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2),
    "F8_E8M0": np.dtype(jnp.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(jnp.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(jnp.float8_e5m2fnuz),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


class Entry(NamedTuple):
    """Where a tensor is in a file, and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a safetensors file says about its tensors.

    Attributes:
      metadata: texts by name, without the digest.
      entries: by name, in the order of the file; offsets count from its beginning.
      digest: of the file as it was written; None where it has none.
      start: offset of the first tensor.
    """

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    digest: str | None
    start: int


def write_safetensors(
    path: str | os.PathLike,
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays to a safetensors file, completely or not at all.

    Args:
      path: the file.
      arrays: at least one, by name, of types that the format has.
      metadata: texts by name.

    Raises:
      OSError: the file cannot be written; names it.
    """
    # Large items first, so that every array begins at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    little = {name: _little_endian(arrays[name]) for name in names}
    entries, stop = {}, 0
    for name, array in little.items():
        begin, stop = stop, stop + array.nbytes
        entries[name] = Entry(array.dtype.newbyteorder("="), array.shape, begin, stop)
    header = _content_of(Header(metadata or {}, entries, None, 0))
    checksum = _checksum(header)
    for array in little.values():
        checksum.update(_bytes_of(array))
    header[METADATA][DIGEST] = checksum.hexdigest()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _replace.replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in little.values():
            file.write(_bytes_of(array))


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Header]:
    """Read all arrays of a safetensors file, and compare the digest if it has one.

    Args:
      path: the file.

    Returns:
      The arrays by name, and the header.

    Raises:
      ValueError: an invalid safetensors file, or one that was changed; names it.
      OSError: the file cannot be read.
    """
    mapped, header = map_safetensors(path)
    return {
        name: np.array(array.astype(array.dtype.newbyteorder("="), copy=False))
        for name, array in mapped.items()
    }, header


def map_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Header]:
    """Map the arrays of a safetensors file into memory; they cannot be written to.

    Args:
      path: the file; its digest is compared if it has one, which reads all of it.

    Returns:
      Views of the file by name, in its order, and the header.

    Raises:
      ValueError, OSError: as `read_safetensors`.
    """
    header = open_safetensors(path)
    check_digest(path, header)
    data = np.memmap(path, np.uint8, "r")
    arrays = {
        name: data[entry.begin : entry.end]
        .view(entry.dtype.newbyteorder("<"))
        .reshape(entry.shape)
        for name, entry in header.entries.items()
    }
    return arrays, header


def rewrite_safetensors(
    parts: Sequence[tuple[str | os.PathLike, Header, BinaryIO]],
    arrays: Iterable[tuple[str, Any]],
) -> None:
    """Write files again with other numbers; all else stays as it is, byte for byte.

    Args:
      parts: a file, its header, and what is to become its successor, opened to be
        written and read; of a model in several files all of them.
      arrays: names and arrays of the types and shapes that they had, in any order; one
        is in memory at a time.

    Raises:
      OSError: a file cannot be read or written.
    """
    left = {}
    for path, header, target in parts:
        with open(path, "rb") as source:
            target.write(source.read(header.start))
        left |= {name: (target, entry) for name, entry in header.entries.items()}
    for name, array in arrays:
        target, entry = left.pop(name)
        target.seek(entry.begin)
        target.write(_bytes_of(_little_endian(array)))
    for path, header, target in parts:
        with open(path, "rb") as source:
            for name in left.keys() & header.entries.keys():
                _copy(source, target, header.entries[name])
        if header.digest is not None:
            _replace_digest(target, header, header.digest)


def open_safetensors(path: str | os.PathLike) -> Header:
    """Read the header of a safetensors file, and compare it with the file's size.

    Args:
      path: the file.

    Returns:
      The header.

    Raises:
      ValueError: no header, or one that contradicts itself or the size; names the file.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise ValueError(
                f"'{path}' is damaged or no safetensors file: truncated in its header."
            )
        content = _json.parse_json(file.read(length), path)
    if not isinstance(content, dict):
        raise ValueError(
            f"'{path}' is damaged or no safetensors file: no header of tensors."
        )
    metadata = content.pop(METADATA, {})
    if not _are_texts(metadata) or not all(map(_is_entry, content.values())):
        raise ValueError(
            f"'{path}' is damaged or no safetensors file: no header of tensors."
        )
    if not content:
        raise ValueError(f"'{path}' is damaged: it holds no tensors.")
    digest = metadata.pop(DIGEST, None)
    entries, start = {}, 8 + length
    stop = start
    for name in sorted(content, key=lambda name: content[name]["data_offsets"]):
        entry = _entry(path, name, content[name], start)
        if entry.begin != stop:
            raise ValueError(
                f"'{path}' is damaged: its tensors overlap, or leave gaps, at {name!r}."
            )
        stop, entries[name] = entry.end, entry
    if size != stop:
        raise ValueError(
            f"'{path}' is truncated or damaged: {size} bytes, expected {stop}."
        )
    return Header(metadata, entries, digest, start)


def is_storable(dtype: np.dtype) -> bool:
    """Return whether the format knows a type of numbers."""
    return dtype.newbyteorder("=") in _CODES


def check_digest(
    path: str | os.PathLike, header: Header, *, data_only: str | None = None
) -> None:
    """Refuse a file that was changed after it was written; reads all of it.

    Args:
      path: the file.
      header: from `open_safetensors`.
      data_only: a SHA-256 of the tensors' bytes alone, to compare instead.

    Raises:
      ValueError: it has been changed; names it.
      OSError: the file cannot be read.
    """
    stored = header.digest if data_only is None else data_only
    if stored is None:
        return
    known = data_only is None
    checksum = _checksum(_content_of(header)) if known else hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(header.start)
        found = hashlib.file_digest(file, lambda: checksum).hexdigest()
    _json.compare_digests(path, stored, found)


def _content_of(header: Header) -> dict[str, Any]:
    """Return a header without its digest as JSON, offsets counted from its end."""
    content: dict[str, Any] = {METADATA: dict(header.metadata)}
    for name, entry in header.entries.items():
        content[name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [entry.begin - header.start, entry.end - header.start],
        }
    return content


def _checksum(content: dict[str, Any]) -> Any:
    """Return the digest of a header, to be updated with the bytes of its tensors."""
    return hashlib.sha256(_json.canonical(content))


def _copy(source: BinaryIO, target: BinaryIO, entry: Entry) -> None:
    """Copy a tensor from a file to its successor."""
    source.seek(entry.begin)
    target.seek(entry.begin)
    for begin in range(entry.begin, entry.end, _CHUNK):
        target.write(source.read(min(_CHUNK, entry.end - begin)))


def _replace_digest(file: BinaryIO, header: Header, old: str) -> None:
    """Write the digest of what a file holds now over that of its predecessor."""
    checksum = _checksum(_content_of(header))
    file.seek(header.start)
    new = hashlib.file_digest(file, lambda: checksum).hexdigest()  # pyright: ignore
    file.seek(0)
    place = file.read(header.start).index(old.encode())
    file.seek(place)
    file.write(new.encode())


def _little_endian(array: Any) -> np.ndarray:
    array = np.asarray(array, order="C")  # not `ascontiguousarray`: scalars stay so
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, as a view."""
    return array.reshape(-1).view(np.uint8).data


def _are_texts(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(
        isinstance(text, str) for text in metadata.values()
    )


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    lists = entry.get("shape"), entry.get("data_offsets")
    return all(
        isinstance(numbers, list)
        and all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        for numbers in lists
    ) and (len(entry["data_offsets"]), len(entry["shape"]) <= _MAX_DIMS) == (2, True)


def _entry(path: pathlib.Path, name: str, content: Any, start: int) -> Entry:
    begin, end = content["data_offsets"]
    if content["dtype"] not in _DTYPES:
        raise ValueError(
            f"'{path}': tensor {name!r} is of type {content['dtype']!r}, which is not"
            f" read; known are {', '.join(_DTYPES)}."
        )
    dtype, shape = _DTYPES[content["dtype"]], tuple(content["shape"])
    # numpy refuses shapes whose product without zeros is too large for an address.
    num_bytes = math.prod(n for n in shape if n) * dtype.itemsize
    if num_bytes >= 2**62 or (0 if 0 in shape else num_bytes) != end - begin:
        raise ValueError(
            f"'{path}' is damaged: {name!r} does not have the size of its shape."
        )
    return Entry(dtype, shape, start + begin, start + end)
