"""`launch/merge.py` as a user starts it."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import networks, symmetry, testing

ROOT = pathlib.Path(__file__).parents[1]
MLP = {"kind": "mlp", "layer_sizes": [4, 6, 3], "activation": "tanh"}


def run_script(*arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    command = [sys.executable, "launch/merge.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_files_are_merged_and_a_wrong_description_writes_nothing(tmp_path):
    network = networks.build(MLP)
    params = testing.random_params(jax.random.key(0), network)
    twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 2)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.npz"]
    for k, path in enumerate(paths):
        symmerge_jax.save(path, jax.tree.map(lambda x, k=k: x[k], twins))
    x = np.ones((5, 4), np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.array([0, 1, 2, 0, 1]))
    options = [*paths, "--num_random_starts=2", "--seed=3", "--weights=0.25,0.75"]
    options += [f"--out={tmp_path / 'out.npz'}", f"--data={tmp_path / 'data.npz'}"]
    description = '{"kind": "mlp", "layer_sizes": [4, 6, 3], "activation": "tanh"}'
    done = run_script(*options, f"--architecture={description}")
    assert done.returncode == 0, done.stderr
    values, _, table = done.stdout.partition("\n\n")
    report = dict(line.split(maxsplit=1) for line in values.splitlines())
    assert "hidden_0  sign" in table
    assert float(report["certificate"]) < 1e-12 and report["networks"] == "2"
    assert float(report["loss_merged"]) > 0 and "loss_barrier_after" in report
    merged = symmerge_jax.load(tmp_path / "out.npz")
    np.testing.assert_allclose(
        network.apply(merged, x), network.apply(params, x), atol=1e-5
    )
    (tmp_path / "out.npz").unlink()
    done = run_script(*options, "--architecture={")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the architecture is not JSON")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npz", "--out=b.npz"], "at least two networks, got 1"),
        (["a.npz", "b.npz"], "--out"),
        (["a.npz", "b.npz", "--out=c.npz", "--matcher=x"], "No such file: 'a.npz'"),
    ],
)
def test_errors_are_one_line(arguments, message):
    done = run_script(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
