"""The benchmark of learned aligners times what it says."""

import jax
import pytest

from benchmarks import deep_align as module
from symmerge_jax import alignment, deep_align


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZES", (2,))
    monkeypatch.setattr(module, "NUM_SWEEPS", (0,))
    monkeypatch.setattr(module, "NETWORKS", {"3-4-2": (3, 4, 2)})
    monkeypatch.setattr(
        module, "FEATURES", {"probes": {"kind": "probes", "num_probes": 3, "width": 0}}
    )
    monkeypatch.setattr(
        module, "WEIGHT_MATCHING", {"one": alignment.WeightMatching(max_sweeps=1)}
    )
    return module


@pytest.mark.slow
def test_every_solver_is_timed(benchmark):
    learned, matched = benchmark.run()["table"]
    solver = benchmark.solvers((3, 4, 2))["probes"]
    assert (learned["solver"], matched["solver"]) == ("probes", "WM one")
    assert min(learned["pairs/s"], matched["pairs/s"]) > 0
    assert isinstance(solver, deep_align.DeepAlign)
    variables = jax.tree.leaves(solver.variables)
    assert learned["parameters"] == sum(x.size for x in variables)
    assert matched["parameters"] == 0
