"""A million networks on disk: opened, shuffled and read without loading them.

MNIST-INRs with random weights are written as shards, one at a time; then batches are
drawn as training draws them. Beside this stands the same in memory, and the step that
the batches are for.

python -m benchmarks.shards THOUSANDS     (in `launch`)
"""

import json
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from symmerge_jax import learning, networks, symmetry, training, zoo

THOUSANDS = 1000
SHARD_SIZE = 50_000
BATCH_SIZE = 32
NUM_BATCHES = 200
ENCODER = {"kind": "scale_gmn", "width": 32, "latent_size": 64, "num_probes": 0}
ENCODER |= {"messages": "linear", "bidirectional": True}


def run() -> dict[str, Any]:
    """Return what `measure` returns, from a process of its own."""
    return timing.in_own_process("benchmarks.shards", str(THOUSANDS))


def measure(thousands: int) -> dict[str, Any]:
    """Write so many thousand networks, open them, and read batches.

    Args:
      thousands: of networks.

    Returns:
      Bytes; seconds to write, open and read, and of a training step; and the peak of
      resident memory above that before the zoo was opened, while batches were read:
      mostly pages of the files, which the system takes back where memory is short.
    """
    num_networks = 1000 * thousands
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.zoo")
        start = time.perf_counter()
        sizes = [min(SHARD_SIZE, num_networks - at) for at in _starts(num_networks)]
        zoo.save_shards(path, map(_random_zoo, sizes))
        written = time.perf_counter()
        found = {"num_networks": num_networks, "write_seconds": written - start}
        found["bytes"] = sum(file.stat().st_size for file in path.iterdir())
        _forget(path)
        small = _random_zoo(min(SHARD_SIZE, num_networks))
        before = timing.peak_memory()
        start = time.perf_counter()
        whole = zoo.load(path, validate=False)
        opened = time.perf_counter()
        rows = np.arange(num_networks) % 20 != 0  # without those for validation
        train = zoo.select(whole, rows)
        chosen = time.perf_counter()
        draw, in_memory = _drawer(train), _drawer(small)
        first = [timing.once(draw, step) for step in range(NUM_BATCHES)]
        found |= {
            "open_seconds": opened - start,
            "select_seconds": chosen - opened,
            "peak_of_reading": timing.peak_memory() - before,
            "first_batch_seconds": first[0],
            "batch_seconds_from_disk": float(np.median(first[1:])),
            "batch_seconds_in_memory": timing.median(in_memory, 1, repeats=50),
        }
        steps = [_step_seconds(part) for part in (small, train)]
        found["step_seconds_in_memory"], found["step_seconds_from_disk"] = steps
    found["share_of_reading"] = 1 - steps[0] / steps[1]
    return found


def _starts(num_networks: int) -> range:
    return range(0, num_networks, SHARD_SIZE)


def _random_zoo(size: int) -> zoo.Zoo:
    network = networks.build(zoo.SIREN)
    random = np.random.default_rng(size)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(
        lambda x: random.uniform(-0.1, 0.1, (size, *x.shape)).astype(np.float32), shapes
    )
    return zoo.create(zoo.SIREN, params)


def _forget(path: pathlib.Path) -> None:
    """Let the files leave the page cache, where the system allows it."""
    for file in path.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _drawer(part: zoo.Zoo):
    """Return what draws the batch of a step, as training does."""

    def draw(step: int) -> Any:
        numbers = zoo.batch_indices(0, step, BATCH_SIZE, len(part))
        return symmetry.rows(part.params, training.own_rows(numbers))

    return draw


def _step_seconds(inrs: zoo.Zoo) -> float:
    """Return the median seconds of a step of the autoencoder of weights alone."""
    numbers = np.arange(len(inrs))
    options = learning.FitOptions(
        num_steps=300, batch_size=BATCH_SIZE, evaluate_every=300, checkpoint_every=300
    )
    with tempfile.TemporaryDirectory() as folder:
        job = learning.rendering_job(
            inrs,
            {"train": numbers[64:], "val": numbers[:64]},
            networks.coordinate_grid(28, 28),
            encoder=ENCODER,
            decoder={"hidden_multipliers": (8, 16)},
            num_points=196,
            warp=learning.Warp(rotation=3.0, scale=0.03, shift=0.03),
        )
        return learning.fit(job, folder, options).metadata["seconds_per_step"]


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))  # noqa: T201
