"""The benchmark of learned aligners times what it says."""

import importlib.util
import pathlib

import jax
import pytest

from symmerge_jax import alignment, deep_align

PATH = pathlib.Path(__file__).parents[1] / "launch" / "benchmarks" / "deep_align.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_deep_align", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
