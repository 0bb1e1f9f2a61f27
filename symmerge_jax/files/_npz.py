"""Numpy's `.npz` with a digest, read without trusting what it declares.

An `.npz` is a zip of `.npy` members. The zip has a checksum for the bytes of each
member, but none for its table of members: a flipped bit there can lose one. Our files
have a SHA-256 of name, type, shape and bytes of all members in the zip's comment.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symmerge_jax.files import _json, _lazy

_DIGEST = b"symmerge_jax.sha256="
_CHUNK = 1 << 20
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MAX_DECLARED = 4 << 30  # bytes, and
_MAX_RATIO = 100  # times the file's size: what is above both is refused
_DAMAGE = (
    *(ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError),
    *(RuntimeError, MemoryError, SyntaxError, tokenize.TokenError, OSError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What zipfile and numpy raise for one damaged byte or another."""


def write_npz(file: Any, arrays: Mapping[str, Any], *, compress: bool = False) -> None:
    """Write arrays as an `.npz`; equal arrays give equal bytes.

    Args:
      file: opened in binary mode, see `replacing`.
      arrays: by name, of types that numpy itself knows.
      compress: whether to deflate them.
    """
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    checksum = hashlib.sha256()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            array = np.asarray(array, order="C")
            info = zipfile.ZipInfo(f"{name}.npy")  # of 1980, whenever it is written
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
            _update(checksum, name, array)
        archive.comment = _DIGEST + checksum.hexdigest().encode()


def open_npz(
    path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray | _lazy.LazyArray], bool]:
    """Return the arrays of an `.npz` without holding them in memory.

    What is stored plainly is mapped into memory, what is deflated is read when it is
    asked for. The digest, or else the CRC of each plain member, is compared first.

    Args:
      path: the file.

    Returns:
      The arrays by name, in the order of the file; and whether it has a digest.

    Raises:
      ValueError: an invalid `.npz`, or one that was changed; names it.
      OSError: the file cannot be opened.
    """
    path = pathlib.Path(path)
    with _opened(path) as (archive, members):
        data = np.memmap(path, np.uint8, "r")
        arrays = {
            name: _open_array(path, archive, info, data)
            for name, info in members.items()
        }
        comment = archive.comment
        plain = (x for x in members.values() if x.compress_type == zipfile.ZIP_STORED)
        for info in () if comment.startswith(_DIGEST) else plain:
            with archive.open(info) as member:
                while member.read(_CHUNK):
                    pass
    return arrays, _check_digest(path, arrays, comment)


def read_npz(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], bool]:
    """Read all arrays of an `.npz`, and compare the digest if it has one.

    Declared sizes are compared with the file's size before memory is allocated: more
    than 4 GiB of arrays in a file of less than a hundredth of that are refused.

    Args:
      path: the file.

    Returns:
      The arrays by name, and whether the file has a digest, as from `write_npz`.

    Raises:
      ValueError: an invalid `.npz`, or one that was changed; names it.
      OSError: the file cannot be opened.
    """
    path = pathlib.Path(path)
    with _opened(path) as (archive, members):
        arrays = {name: _read_array(archive, info) for name, info in members.items()}
        comment = archive.comment
    return arrays, _check_digest(path, arrays, comment)


def has_member(path: str | os.PathLike, name: str) -> bool:
    """Return whether a zip has a file of this name in any of its folders.

    Args:
      path: a file, a zip or not.
      name: of the member, without its folders.

    Returns:
      Whether it is there; False for a zip that is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return any(n.rpartition("/")[2] == name for n in archive.namelist())
    except _DAMAGE:
        return False


@contextlib.contextmanager
def _opened(
    path: pathlib.Path,
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open a zip, and name what is wrong with it in the block."""
    with (
        path.open("rb") as file,
        _naming_damage(path),
        zipfile.ZipFile(file) as archive,
    ):
        yield archive, _members(archive, file)


@contextlib.contextmanager
def _naming_damage(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"'{path}' is damaged or no npz file of arrays"
            f" ({' '.join(str(error).split()) or type(error).__name__})."
        ) from error


def _check_digest(path: Any, arrays: Mapping[str, Any], comment: bytes) -> bool:
    """Compare arrays with the digest in a comment; return whether there is one."""
    digest = comment.removeprefix(_DIGEST)
    if digest == comment:
        return False
    checksum = hashlib.sha256()
    for name, array in arrays.items():
        _update(checksum, name, np.asarray(array))
    _json.compare_digests(path, digest.decode("ascii", "replace"), checksum.hexdigest())
    return True


def _members(archive: zipfile.ZipFile, file: Any) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the names of their arrays, with plausible sizes."""
    size = os.fstat(file.fileno()).st_size
    members = archive.infolist()
    declared = sum(info.file_size for info in members)
    if declared > max(_MAX_DECLARED, _MAX_RATIO * size):
        raise ValueError(
            f"{declared} bytes of arrays in a file of {size}, which is not read:"
            " store them without compression"
        )
    _check_count(file, size, archive.comment, len(members))
    found: dict[str, zipfile.ZipInfo] = {}
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"unknown compression {info.compress_type}")
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = info
    return found


def _open_array(
    path: pathlib.Path,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    data: np.ndarray,
) -> np.ndarray | _lazy.LazyArray:
    """Return an array as a view of the file, or to be inflated later."""
    with archive.open(info) as member:
        shape, is_fortran, dtype = _read_header(member, info.file_size)
        begin = member.tell()
    if info.compress_type == zipfile.ZIP_STORED:
        # Behind the member's own header, which may be longer than that in the table.
        names = data[info.header_offset + 26 : info.header_offset + 30].tobytes()
        begin += info.header_offset + 30 + sum(struct.unpack("<HH", names))
        end = begin + math.prod(shape) * dtype.itemsize
        if len(data) < end:
            raise EOFError("a member ends too early")
        order = "F" if is_fortran else "C"
        return data[begin:end].view(dtype).reshape(shape, order=order)

    def read() -> np.ndarray:
        with _naming_damage(path), zipfile.ZipFile(path) as again:
            return _read_array(again, info)

    return _lazy.LazyArray(shape, dtype, read)


def _read_header(member: Any, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of a `.npy`, which has to fit the size of its member."""
    version = np.lib.format.read_magic(member)
    if version not in _READ_HEADER:
        raise ValueError(f"unknown version {version} of npy")
    shape, is_fortran, dtype = _READ_HEADER[version](member)
    if dtype.hasobject or dtype.names:
        raise ValueError(f"an array of {dtype}")
    num_bytes = size - member.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != num_bytes:
        raise ValueError(f"an array of shape {shape} of {dtype} in {num_bytes} bytes")
    return shape, is_fortran, dtype


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    member: Any
    with archive.open(info) as member:
        shape, is_fortran, dtype = _read_header(member, info.file_size)
        array = np.empty(shape, dtype, order="F" if is_fortran else "C")
        content = _bytes_of(array)
        for begin in range(0, len(content), _CHUNK):
            part = content[begin : begin + _CHUNK]
            if member.readinto(part) != len(part):
                raise EOFError("a member ends too early")
        member.read(1)  # to its end, where zipfile compares the CRC
        return array


def _check_count(file: Any, size: int, comment: bytes, num_members: int) -> None:
    """Compare the number of members with the one at the file's end."""
    file.seek(size - len(comment) - 12)
    (count,) = struct.unpack("<H", file.read(2))
    if count not in (num_members, 0xFFFF):
        raise ValueError(f"{num_members} of {count} arrays are found")


def _bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, in its own order, as a view."""
    return array.reshape(-1, order="A").view(np.uint8).data


def _update(checksum: Any, name: str, array: np.ndarray) -> None:
    what = json.dumps([name, array.dtype.str, list(array.shape)])
    checksum.update(what.encode())
    checksum.update(_bytes_of(np.asarray(array, order="C")))
