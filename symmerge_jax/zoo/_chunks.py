"""Populations in chunks: several at a time, each kept in a file when it is finished.

A chunk of networks is one call of one compiled program. The seed of a network follows
from the seed of its zoo and its number, so an interrupted zoo that is resumed from the
chunks in `parts_dir` is, bit for bit, the uninterrupted one.

Devices of many processes of `jax.distributed` share each chunk; the first process keeps
the files.
"""

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec

from symmerge_jax import files, symmetry, training
from symmerge_jax.typing import Params

_METRICS = "metrics/"

Metrics = Mapping[str, np.ndarray]
OnChunk = Callable[[int, int, Mapping[str, float]], None]
"""Called with the networks done, the networks in all, and means of the last chunk."""


def gather(
    fit_chunk: Callable[[np.ndarray], tuple[Params, Metrics]],
    numbers: range,
    chunk_size: int,
    *,
    recipe: Mapping[str, Any],
    parts_dir: str | os.PathLike | None,
    devices: Sequence[Any],
    stats: Callable[[Metrics], Mapping[str, float]],
    on_chunk: OnChunk | None,
) -> tuple[Params, dict[str, np.ndarray]]:
    """Return weights and metrics of networks of these numbers, stacked.

    `fit_chunk` gets the numbers of the networks of a chunk, `[chunk_size]` int32; the
    last chunk repeats its last network. Finished chunks are kept in `parts_dir`, beside
    the `recipe` that decides the weights, and found there. `stats` says what to tell
    `on_chunk` of the metrics of a chunk.
    """
    is_alone = len({device.process_index for device in devices}) == 1
    together = contextlib.nullcontext if is_alone else training.together
    starts = numbers[::chunk_size]
    with together():
        keeps = is_alone or training.is_first()
        recipe = {**recipe, "chunk_size": chunk_size}
        parts = _Parts(parts_dir if keeps else None, recipe)
        chunks = {start: x for start in starts if (x := parts.load(start))}
    if not is_alone:
        chunks = _from_first(chunks)

    def make(start: int) -> dict[str, np.ndarray]:
        chosen = np.arange(start, start + chunk_size, dtype=np.int32)
        params, metrics = fit_chunk(np.minimum(chosen, numbers[-1]))
        leaves = symmetry.flatten(jax.device_get(params)).items()
        arrays = {"/".join(path): leaf for path, leaf in leaves}
        arrays |= {f"{_METRICS}{n}": v for n, v in jax.device_get(metrics).items()}
        return {name: values[: numbers.stop - start] for name, values in arrays.items()}

    def size(start: int) -> int:
        return min(chunk_size, numbers.stop - start)

    done = sum(map(size, chunks))
    if on_chunk is not None:
        on_chunk(done, len(numbers), {})
    missing = [start for start in starts if start not in chunks]
    for start, chunk in _run(make, missing, num_workers(devices)):
        with together():
            parts.save(start, chunk)
        chunks[start] = chunk
        done += size(start)
        if on_chunk is not None:
            on_chunk(done, len(numbers), stats(_split(chunk)[1]))
    return _split(
        {
            name: np.concatenate([chunks[start][name] for start in starts])
            for name in chunks[numbers.start]
        }
    )


def _from_first(
    chunks: dict[int, dict[str, np.ndarray]],
) -> dict[int, dict[str, np.ndarray]]:
    """Return the chunks that the first process has read, in all of them."""
    arrays = [array for chunk in chunks.values() for array in chunk.values()]
    found = [(start, [*chunk]) for start, chunk in chunks.items()]
    kinds = [(array.shape, array.dtype.str) for array in arrays]
    found, kinds = training.value_from_first([found, kinds])
    if not arrays:
        arrays = [np.zeros(shape, dtype) for shape, dtype in kinds]
    left = iter(training.from_first(arrays))
    return {start: {name: next(left) for name in names} for start, names in found}


def spread(
    function: Callable[..., Any], devices: Sequence[Any], is_data: Sequence[bool]
) -> Callable[..., Any]:
    """Return a compiled function whose rows of results the devices share.

    `is_data` says for every argument whether they share its rows, too; the others are
    given to all of them. Each process has all results.
    """
    mesh, rows = training.make_mesh(devices), PartitionSpec("data")
    program = jax.jit(
        jax.shard_map(
            function,
            mesh=mesh,
            in_specs=tuple(rows if shared else PartitionSpec() for shared in is_data),
            out_specs=rows,
            check_vma=False,
        )
    )
    if not mesh.is_multi_process:
        return program
    put = [training.shard_batch if shared else training.replicate for shared in is_data]

    def call(*arguments: Any) -> Any:
        placed = (p(x, mesh) for p, x in zip(put, arguments, strict=True))
        return multihost_utils.process_allgather(program(*placed), tiled=True)

    return call


def _split(
    arrays: Mapping[str, np.ndarray],
) -> tuple[Params, dict[str, np.ndarray]]:
    """Return the weights and the metrics of a chunk."""
    metrics, leaves = {}, {}
    for name, values in arrays.items():
        if name.startswith(_METRICS):
            metrics[name.removeprefix(_METRICS)] = values
        else:
            leaves[tuple(name.split("/"))] = values
    return symmetry.unflatten(leaves), metrics


def num_workers(devices: Sequence[Any]) -> int:
    """Return how many chunks to compute at a time: one per core if a CPU is alone.

    XLA runs one program of many small operations on one core; a worker per core is what
    fills a CPU.
    """
    if len(devices) > 1 or devices[0].platform != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # the cores that this process may use
    return os.cpu_count() or 1


def _run(
    make: Callable[[int], Any], starts: Sequence[int], num_workers: int
) -> Iterator[tuple[int, Any]]:
    """Yield each chunk with its start, as they come, several at a time.

    One at a time is no thread of its own: what many processes do together has to have
    the same order in all of them.
    """
    if num_workers == 1:
        for start in starts:
            yield start, make(start)
        return
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        futures = {pool.submit(make, start): start for start in starts}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Parts:
    """Finished chunks in a folder; without a folder, nothing is kept."""

    def __init__(self, folder: str | os.PathLike | None, recipe: Mapping[str, Any]):
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

    def load(self, start: int) -> dict[str, np.ndarray] | None:
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

    def save(self, start: int, chunk: Mapping[str, np.ndarray]) -> None:
        """Keep a chunk; the file gets its name only when it is complete."""
        if (file := self._file(start)) is not None:
            files.write_safetensors(file, chunk)

    def _file(self, start: int) -> pathlib.Path | None:
        return self._folder and self._folder / f"{start:08d}.safetensors"
