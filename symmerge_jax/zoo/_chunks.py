"""Long work in chunks: several at a time, each kept in a file when it is finished."""

import concurrent.futures
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symmerge_jax import files, symmetry
from symmerge_jax.typing import Params

_METRICS = "metrics/"

OnChunk = Callable[[int, int, Mapping[str, float]], None]
"""Called with the networks done, the networks in all, and means of the last chunk."""


def gather(
    fit_chunk: Callable[[int], dict[str, np.ndarray]],
    num_networks: int,
    chunk_size: int,
    *,
    parts: "Parts",
    num_workers: int,
    stats: Callable[[dict[str, np.ndarray]], Mapping[str, float]],
    on_chunk: OnChunk | None,
) -> dict[str, np.ndarray]:
    """Return the arrays of all chunks, joined along their first axis.

    Args:
      fit_chunk: from the number of a chunk's first network to its arrays, one row per
        network; the last chunk has fewer rows.
      num_networks: networks in all.
      chunk_size: networks per chunk.
      parts: where finished chunks are kept and found.
      num_workers: chunks that are computed at the same time.
      stats: what to tell of a chunk.
      on_chunk: called as `on_chunk(done, total, stats)` after each chunk, and once
        before the first, with no stats and the networks that parts hold already.

    Returns:
      Arrays by name.
    """
    starts = range(0, num_networks, chunk_size)
    chunks = {start: chunk for start in starts if (chunk := parts.load(start))}
    missing = [start for start in starts if start not in chunks]
    done = num_networks - sum(min(chunk_size, num_networks - s) for s in missing)
    if on_chunk is not None:
        on_chunk(done, num_networks, {})
    for start, chunk in _run(fit_chunk, missing, num_workers):
        parts.save(start, chunk)
        chunks[start] = chunk
        done += min(chunk_size, num_networks - start)
        if on_chunk is not None:
            on_chunk(done, num_networks, stats(chunk))
    return {
        name: np.concatenate([chunks[start][name] for start in starts])
        for name in chunks[0]
    }


def indices(start: int, chunk_size: int, num_networks: int) -> np.ndarray:
    """Return the networks of a chunk, `[chunk_size]` int32.

    The last chunk is filled up with repetitions of the last network.
    """
    numbers = np.minimum(np.arange(start, start + chunk_size), num_networks - 1)
    return numbers.astype(np.int32)


def pack(
    params: Params, metrics: Mapping[str, np.ndarray], num_rows: int
) -> dict[str, np.ndarray]:
    """Return the first rows of weights and metrics as the arrays of a chunk."""
    arrays = {"/".join(path): leaf for path, leaf in symmetry.flatten(params).items()}
    arrays |= {f"{_METRICS}{name}": values for name, values in metrics.items()}
    return {name: values[:num_rows] for name, values in arrays.items()}


def unpack(arrays: Mapping[str, np.ndarray]) -> tuple[Params, dict[str, np.ndarray]]:
    """Return the weights and the metrics of arrays made by `pack`."""
    metrics, leaves = {}, {}
    for name, values in arrays.items():
        if name.startswith(_METRICS):
            metrics[name.removeprefix(_METRICS)] = values
        else:
            leaves[tuple(name.split("/"))] = values
    return symmetry.unflatten(leaves), metrics


def num_workers(devices: Sequence[Any]) -> int:
    """Return how many chunks to compute at a time: one per core, if a CPU is alone."""
    alone = len(devices) == 1 and devices[0].platform == "cpu"
    return _num_cores() if alone else 1


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(
    fit_chunk: Callable[[int], Any], starts: Sequence[int], num_workers: int
) -> Iterator[tuple[int, Any]]:
    """Yield each chunk with its start, as they come, several at a time.

    XLA runs one program of many small operations on one core; a worker per core is what
    fills a CPU.
    """
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        futures = {pool.submit(fit_chunk, start): start for start in starts}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class Parts:
    """Finished chunks in a folder; without a folder, nothing is kept."""

    def __init__(self, folder, recipe):
        self._folder = None if folder is None else pathlib.Path(folder)
        if self._folder is None:
            return
        file = self._folder / "recipe.json"
        text = json.dumps(recipe, indent=2)
        if not file.exists():
            with files.replacing(file) as opened:
                opened.write(text.encode())
        elif file.read_bytes() != text.encode():
            raise ValueError(
                f"{self._folder} holds the parts of another zoo (see {file.name} in"
                " it). Remove the folder, or choose another output."
            )

    def load(self, start):
        """Return the chunk that begins at this network; None if it has to be made."""
        file = self._file(start)
        if file is None or not file.exists():
            return None
        try:
            chunk, header = files.read_safetensors(file)
            if header.digest is None:
                raise ValueError(f"'{file}' has no checksum.")
            return chunk
        except ValueError as error:
            logging.getLogger(__name__).warning("%s It is made again.", error)
            return None

    def save(self, start, chunk):
        """Keep a chunk; the file gets its name only when it is complete."""
        if (file := self._file(start)) is None:
            return
        files.write_safetensors(file, chunk)

    def _file(self, start):
        return self._folder and self._folder / f"{start:08d}.safetensors"
