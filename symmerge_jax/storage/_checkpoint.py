"""Checkpoints as they come: one way in, one way out, whatever the format.

A checkpoint is named tensors and what its format keeps beside them. It is written again
like another one, tensor by tensor: what is not given is copied bit for bit.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax import files
from symmerge_jax.storage import _tensor_names

Tensor = np.ndarray | files.LazyArray
"""A view of a file, or an array that is read when it is asked for."""

Named = Iterable[tuple[str, Any]]
"""Pairs of a name and an array."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors in a file or folder, which are read when they are asked for.

    Attributes:
      path: the file or folder.
      format: name of the format, such as "safetensors".
      tensors: by name, in the order of the file: memory-mapped arrays of numpy, or
        `files.LazyArray` where the format packs them.
      metadata: what the file says beside its tensors, by name: texts, or plain values.
      is_escaped: whether "~0" and "~1" in names stand for "~" and "/".
      part: which part of the file the tensors are, "" for all.
      layout: what the format needs to write the file again.
    """

    path: pathlib.Path
    format: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_escaped: bool = False
    part: str = ""
    layout: Any = None

    def plain_name(self, name: str) -> str:
        """Return the name of a tensor with "~" and "/" where they are escaped."""
        return _tensor_names.unescape(name) if self.is_escaped else name

    @property
    def nbytes(self) -> int:
        """Number of bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Format(NamedTuple):
    """How checkpoints of one format are read and written.

    Attributes:
      name: of the format.
      suffixes: of its files; the first one is proposed.
      owns: whether a folder holds such a checkpoint and nothing else; None for formats
        of one file.
      read: `read(path, key)` returns the checkpoint.
      rewrite: `rewrite(checkpoint, target, arrays)` writes it again with other arrays,
        each once, to a new file or folder; None for a format that is only read.
      check: `check(checkpoint)` refuses content of another format that this one cannot
        hold; None for a format that is written again only.
      create: `create(target, checkpoint)` writes content of another format.
    """

    name: str
    suffixes: tuple[str, ...]
    owns: Callable[[pathlib.Path], bool] | None
    read: Callable[[pathlib.Path, str | None], Checkpoint]
    rewrite: Callable[[Checkpoint, pathlib.Path, Named], None] | None
    check: Callable[[Checkpoint], None] | None = None
    create: Callable[[pathlib.Path, Checkpoint], None] | None = None


def choose(
    path: pathlib.Path, like: Checkpoint, formats: Mapping[str, Format]
) -> Format:
    """Return the format of a file to be written, by its suffix, or as it was read."""
    own, name = formats[like.format], path.name.lower()
    fits = [form for form in formats.values() if name.endswith(form.suffixes)]
    found = next(iter(fits), own if own.owns and path.suffix != ".json" else None)
    if own in fits or (own.owns is None and path.suffix == like.path.suffix):
        found = own
    known = [s for form in formats.values() if form.create for s in form.suffixes[:1]]
    remedy = f"{', '.join(sorted(known))} are written"
    if found is None:
        raise ValueError(
            f"'{path}': weights are written like '{like.path}', or as their suffix"
            f" says, got suffix {path.suffix!r}: {remedy}."
        )
    if found is own and own.rewrite is not None:
        return own
    if found.create is None:
        raise ValueError(
            f"'{path}': files of {found.name} are"
            f" {'not written' if found is own else 'written from their like only'}:"
            f" {remedy}."
        )
    if found.check is not None:
        found.check(like)
    return found


def write(path: pathlib.Path, like: Checkpoint, form: Format, changed: Named) -> None:
    """Write a checkpoint completely or not at all; see `write_checkpoint`."""
    if path.resolve() == like.path.resolve():
        raise ValueError(f"'{path}' would be written over itself: choose another name.")
    arrays = _checked(path, like, changed)
    if form.owns is not None:
        _check_replaceable(path, form.owns)
        with files.replacing_folder(path) as folder:
            _fill(folder, like, form, arrays)
    else:
        if path.is_dir():
            raise IsADirectoryError(f"'{path}' is a folder: name a file.")
        with files.replacing(path) as file:
            _fill(pathlib.Path(file.name), like, form, arrays)


def _fill(target: pathlib.Path, like: Checkpoint, form: Format, arrays: Named) -> None:
    if form.name == like.format:
        assert form.rewrite is not None
        form.rewrite(like, target, arrays)
    else:
        assert form.create is not None
        tensors = {**like.tensors, **dict(arrays)}
        form.create(target, dataclasses.replace(like, tensors=tensors))


def _checked(
    path: pathlib.Path, like: Checkpoint, changed: Named
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield arrays for the places that a file has for them; refuse others."""
    seen = set()
    for name, value in changed:
        old, array = like.tensors.get(name), np.asarray(value)
        if old is None or name in seen:
            fault = "twice" if old is not None else "and is not in"
            raise ValueError(
                f"'{path}': tensor '{name}' is given {fault} '{like.path}'"
            )
        seen.add(name)
        if (array.shape, array.dtype.newbyteorder("=")) != (
            old.shape,
            old.dtype.newbyteorder("="),
        ):
            raise ValueError(
                f"'{path}': tensor '{name}' is {array.dtype} {array.shape}, and"
                f" {old.dtype} {old.shape} in '{like.path}'."
            )
        yield name, array


def _check_replaceable(
    path: pathlib.Path, owns: Callable[[pathlib.Path], bool]
) -> None:
    """Refuse a folder that holds anything but an older checkpoint."""
    if path.is_dir() and any(path.iterdir()) and not owns(path):
        raise ValueError(
            f"'{path}' holds more than a checkpoint, so it is not replaced: choose"
            " another folder."
        )
    if path.is_file():
        raise NotADirectoryError(f"'{path}' is a file: name a folder.")


def expand(path: str | bytes | os.PathLike) -> pathlib.Path:
    """Return a path as the operating system takes it."""
    return pathlib.Path(os.fsdecode(path)).expanduser()
