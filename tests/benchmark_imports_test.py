"""The benchmark of importing measures the package, in a process of its own."""

import pathlib
import runpy

import pytest

PATH = pathlib.Path(__file__).parents[1] / "launch" / "benchmarks" / "imports.py"


@pytest.mark.slow
def test_importing_is_timed():
    result = runpy.run_path(str(PATH))["run"](num_processes=1)
    assert result["num_processes"] == 1
    assert min(result["added_seconds"], result["jax_and_flax_seconds"]) > 0
