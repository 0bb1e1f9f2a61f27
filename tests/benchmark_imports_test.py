"""The benchmark of importing measures the package, in a process of its own."""

import pytest

from benchmarks import imports


@pytest.mark.slow
def test_importing_is_timed():
    result = imports.run(num_processes=1)
    assert result["num_processes"] == 1
    assert min(result["added_seconds"], result["jax_and_flax_seconds"]) > 0
