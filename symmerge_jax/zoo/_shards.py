"""Zoos in many files: a folder of zoo files, and the order of these.

    00000.zoo, 00001.zoo ...     zoos of one architecture, see `_zoo_file`
    index.json                   their names and sizes, written last

Each shard is a zoo by itself. Together they are one whose weights and images are read
when they are asked for: what fits on the disk can be trained on.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from symmerge_jax import files, training
from symmerge_jax.zoo import _chunks, _parts, _rows, _zoo, _zoo_file

FORMAT = "symmerge_jax.shards"
INDEX = "index.json"


def save_shards(
    folder: str | os.PathLike,
    zoos: Iterable[_zoo.Zoo],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write zoos of one architecture as the shards of one zoo, which `load` opens.

    Args:
      folder: to be made; complete once it has an `index.json`.
      zoos: one after the other, so that only one needs to be in memory.
      provenance: where the whole comes from; anything that JSON can hold.

    Raises:
      ValueError: no zoos, zoos of several architectures, or a folder with a zoo.
      OSError: a file cannot be written; names it.
    """
    folder = pathlib.Path(folder)
    if (folder / INDEX).exists():
        raise ValueError(f"'{folder}' holds a zoo: remove it, or choose another one.")
    sizes, first = {}, None
    for number, zoo in enumerate(zoos):
        first = first or zoo
        _zoo.require_architecture(zoo, first.architecture)
        _zoo_file.save(folder / _name(number), zoo)
        sizes[_name(number)] = len(zoo)
    if first is None:
        raise ValueError("save_shards needs at least one zoo.")
    _write_index(folder, sizes, provenance or {})


def is_sharded(path: str | os.PathLike) -> bool:
    """Return whether a path is a folder with the shards of a zoo.

    Args:
      path: any path.
    """
    return (pathlib.Path(path) / INDEX).is_file()


def load(folder: str | os.PathLike, *, validate: bool = True) -> _zoo.Zoo:
    """Open a zoo, see `_zoo_file.load`, or the shards of one in a folder.

    Args:
      folder: a file written by `save`, or a folder written by `save_shards`.
      validate: compare checksums and look at all weights for NaN and infinity, which
        reads all files.

    Returns:
      A zoo whose arrays are read-only views of the mapped file. Weights and images of
      shards are `Rows`: `leaf[numbers]` reads some networks, `numpy.asarray(leaf)` all.

    Raises:
      FileNotFoundError: no such file, or a shard is missing.
      ValueError: no zoo, an unknown version, a truncated or changed file, or bad
        weights. The message names the file.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return _zoo_file.load(folder, validate=validate)
    index = folder / INDEX
    if not is_sharded(folder):
        raise ValueError(
            f"'{folder}' is a folder without {INDEX}, no zoo or an incomplete one. Give"
            " the command that makes it again, which resumes."
        )
    found = files.parse_json(index.read_bytes(), index)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"'{index}' is not the index of a zoo.")
    files.check_seal(found, index, required=True)
    zoos = []
    for name, size in found["shards"].items():
        zoo = _zoo_file.load(folder / name, validate=validate)
        if len(zoo) != size:
            raise ValueError(
                f"'{folder / name}' holds {len(zoo)} networks, {INDEX} says {size}."
                " Copy the folder again."
            )
        zoos.append(zoo)
    return _joined(folder, zoos, found["provenance"])


def load_or_make(
    folder: str | os.PathLike,
    recipe: Mapping[str, Any],
    num_networks: int,
    shard_size: int,
    make: Callable[..., _zoo.Zoo],
    on_chunk: _chunks.OnChunk | None,
) -> _zoo.Zoo:
    """Return the zoo in a folder, after `make(parts_dir, ...)` has made missing shards.

    `make` also gets the `numbers` of the networks of a shard, and `on_chunk`.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size must be at least 1, got {shard_size}.")
    folder = pathlib.Path(folder)
    if folder.is_file():
        raise ValueError(f"'{folder}' is a file: choose a folder for shards.")
    every, zoos = range(num_networks), {}
    for start in every[::shard_size]:
        numbers = every[start : start + shard_size]

        def report(done: int, _: int, stats: Mapping[str, float], s=start) -> None:
            if on_chunk is not None:
                on_chunk(s + done, num_networks, stats)

        name = _name(start // shard_size)
        zoos[name] = _zoo_file.load_or_make(
            folder / name,
            {**recipe, "numbers": [numbers.start, numbers.stop]},
            lambda parts, n=numbers, r=report: make(parts, numbers=n, on_chunk=r),
        )
    if not training.value_from_first(is_sharded(folder)):
        sizes = {name: len(zoo) for name, zoo in zoos.items()}
        training.on_first(lambda: _write_index(folder, sizes, recipe))
    return _joined(folder, [*zoos.values()], recipe)


def _joined(folder, zoos: Sequence[_zoo.Zoo], provenance) -> _zoo.Zoo:
    """Return the zoo of some shards, which are not read."""
    try:
        whole = _parts.join(zoos, _rows.Rows)
    except ValueError as error:
        raise ValueError(f"'{folder}' is not a valid zoo: {error}") from error
    return dataclasses.replace(whole, provenance=dict(provenance))


def _name(number: int) -> str:
    return f"{number:05d}.zoo"


def _write_index(folder, sizes: Mapping[str, int], provenance) -> None:
    index = {"format": FORMAT, "shards": sizes, "provenance": dict(provenance)}
    with files.replacing(folder / INDEX) as opened:
        opened.write(json.dumps(files.seal(index), indent=1).encode())
