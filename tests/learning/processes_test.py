"""What two processes do, of two devices each, is what one does; it stops, and resumes.

Three starts: SIGTERM ends the first, after the same step in both processes; in the
second one process is killed; the third ends, makes a zoo, and aligns pairs.
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from symmerge_jax import alignment, learning, networks, symmetry, training, zoo
from tests.learning import small

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 300  # seconds for a start; what has not ended then is killed

WORKER = """
import json, os, sys, time
import jax, numpy as np
index, port, at, number = map(int, sys.argv[1:5])
jax.distributed.initialize(
    f"127.0.0.1:{port}", 2, index, heartbeat_timeout_seconds=30,
    shutdown_timeout_seconds=10,
)
from symmerge_jax import learning, training, zoo
from tests.learning import processes_test
draw = zoo.batch_indices
def batch_indices(seed, step, *rest):
    if at and step > at:
        time.sleep(0.4)  # the other process hears of the signal meanwhile
    if at and step == at and index == 1:
        os.kill(os.getpid(), number)
    return draw(seed, step, *rest)
zoo.batch_indices = batch_indices
if at == processes_test.REFUSE:
    for changes in ({"batch_size": 6}, {"parallel": "pmap"}, {"seed": index}):
        try:
            processes_test.fit(sys.argv[5], **changes)
        except ValueError as error:
            print(f"refused: {error}", flush=True)
try:
    trained = processes_test.fit(sys.argv[5])
except training.Interrupted as stop:
    print(stop, flush=True)
    sys.exit(3)
total = sum(float(np.abs(x).sum()) for x in jax.tree.leaves(trained.variables))
def fails_in_one(rows):
    if index:
        raise OSError("a disk is full")
    return rows
try:
    training.over_processes(fails_in_one, np.zeros((3, 2)))
except (OSError, ValueError) as error:
    print(f"over processes: {error}", flush=True)
aligned = processes_test.align().tolist()
sums = processes_test.sums(processes_test.make_zoo(sys.argv[5]).params)
print(json.dumps([trained.metadata, total, aligned, sums]))
"""

REFUSE = TERM_AT = 2
KILL_AT = 13


def fit(folder, **changes):
    every = {"evaluate_every": 4, "checkpoint_every": 4, "learning_rate": 1e-4}
    return learning.fit_canonicalizer(
        small.make_zoo(small.SIREN),
        folder,
        encoder=small.PROBE,
        decoder={"hidden_multipliers": (1,)},
        options=small.options(**{"num_steps": 16, **every, **changes}),
    )


def align():
    """Return how far three pairs are apart once they are aligned, `[3]`."""
    inrs = small.make_zoo(small.SIREN)
    network = networks.build(inrs.architecture)

    @jax.jit
    @jax.vmap
    def distances(a, b):
        problem = alignment.AlignmentProblem(params_a=a, params_b=b, spec=network.spec)
        found = alignment.WeightMatching()(jax.random.key(0), problem)
        return found.objective[-1]

    numbers = np.array([0, 4, 8])
    rows = tuple(symmetry.rows(inrs.params, numbers + k) for k in (0, 1))
    return training.over_processes(
        lambda some: networks.map_batches(lambda x: distances(*x), some, 2), rows
    )


SIRENS = {
    "architecture": {"kind": "siren", "layer_sizes": [2, 6, 1]},
    "options": zoo.SirenOptions(num_steps=6, stride=2, group_size=1),
    "fits_per_image": 2,
    "chunk_size": 4,
}


def make_zoo(folder):
    """Return SIRENs of digits, in two shards."""
    digits, path = zoo.load_images("digits", num_images=5), pathlib.Path(folder)
    return zoo.load_or_fit_sirens(path / "made.zoo", digits, shard_size=6, **SIRENS)


def sums(params):
    return [float(np.abs(np.asarray(x)).sum()) for x in jax.tree.leaves(params)]


def start(folder, environment, at=0, number=0):
    """Return the exit codes and the outputs of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = map(str, (port, at, number))
    command = [sys.executable, "-c", WORKER]
    options = {"cwd": ROOT, "env": environment, "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    arguments = [*arguments, str(folder)]
    running = [
        subprocess.Popen([*command, str(index), *arguments], **options, **pipes)
        for index in range(2)
    ]
    try:
        done = [process.communicate(timeout=LIMIT) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        (process.returncode, out, err)
        for process, (out, err) in zip(running, done, strict=True)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume(tmp_path, two_devices):
    environment = {**two_devices, "PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}"}
    whole = fit(tmp_path / "whole")
    folder = tmp_path / "run"

    first = start(folder, environment, TERM_AT, signal.SIGTERM)
    assert [code for code, *_ in first] == [3, 3], first
    stops = [out.splitlines()[-1] for _, out, _ in first]
    assert stops[0] == stops[1] and "Stopped by SIGTERM after step" in stops[0]
    (stopped,) = training.checkpoint_steps(folder / "checkpoints/latest")[-1:]
    assert f"after step {stopped} of 16" in stops[0] and stopped < 16
    for _, out, _ in first:
        assert "refused: A batch of 6 does not split over 4 device(s)" in out
        assert "refused: parallel='pmap' works in one process" in out
    assert "refused: Process 1 of 2 failed" in first[0][1]
    assert "another training than process 0, where seed is 0, and here 1" in first[1][1]

    (code, *_), (killed, *_) = start(folder, environment, KILL_AT, signal.SIGKILL)
    assert code != 0 and killed == -signal.SIGKILL

    made = make_zoo(tmp_path)
    # Of the first shard, one chunk is there.
    (folder / "made.zoo").mkdir()
    parts = {"parts_dir": folder / "made.zoo/00000.zoo.parts", "numbers": range(6)}
    zoo.generate_siren_zoo(zoo.load_images("digits", num_images=5), **SIRENS, **parts)
    (parts["parts_dir"] / "00000004.safetensors").unlink()

    last = start(folder, environment)
    assert [code for code, *_ in last] == [0, 0], last
    results = [json.loads(out.splitlines()[-1]) for _, out, _ in last]
    assert results[0] == results[1]
    metadata, total, aligned, weights = results[0]
    np.testing.assert_allclose(aligned, align(), rtol=1e-5)
    np.testing.assert_allclose(weights, sums(made.params), rtol=1e-5)
    assert "over processes: Process 1 of 2 failed" in last[0][1]
    assert "over processes: a disk is full" in last[1][1]
    assert metadata["best_step"] == whole.metadata["best_step"]
    sizes = [float(np.abs(x).sum()) for x in jax.tree.leaves(whole.variables)]
    assert total == pytest.approx(sum(sizes), rel=1e-5)
    curves = [
        training.read_metrics(at / "metrics.jsonl")
        for at in (tmp_path / "whole", folder)
    ]
    for name in ("loss", "val/mse"):
        np.testing.assert_array_equal(curves[0][name].steps, curves[1][name].steps)
        np.testing.assert_allclose(
            curves[0][name].values, curves[1][name].values, rtol=1e-5
        )
