"""Learned alignment of other networks than MLPs, its configs, and means over seeds."""

import runpy

import numpy as np
import pytest

from experiments import harness
from experiments.compare import (
    _align_checks,
    _align_results,
    deep_align,
)
from experiments.train import matcher_training
from symmerge_jax import networks
from tests.experiments import configs, populations as small


def test_numbers_are_means_over_seeds():
    spec = networks.build(small.ARCHITECTURES["mlp"]).spec
    rest = {"seconds": 0.5, "function_error": np.zeros(2)}
    cells = [
        {"loss": np.array([[1.0, 3, 1], [1, 2, 3]]), "error": np.full((2, 3), 0.25)},
        {"loss": np.array([[0.0, 4, 0], [0, 0, 2]]), "error": np.full((2, 3), 0.5)},
    ]
    found = _align_results._numbers("naive", spec, [rest | cell for cell in cells])
    assert (found["barrier"], found["middle"]) == (1.5, 2.25)
    assert found["auc"] == pytest.approx((0.5 + 0.75) / 2)
    assert found["accuracy"] == 0.625
    assert found["barrier_std"] == pytest.approx(np.sqrt(0.5))
    assert found["middle_std"] == pytest.approx(np.sqrt(0.125))
    one = _align_results._numbers("naive", spec, [rest | {"loss": cells[0]["loss"]}])
    assert one["barrier"] == 1 and one["barrier_std"] is None
    assert "accuracy" not in one


@pytest.mark.parametrize(
    "file", sorted(configs.CONFIGS.glob("deep_align_*.py")), ids=str
)
def test_configs_know_their_variants(file):
    for variant in runpy.run_path(str(file))["VARIANTS"]:
        config = harness.load_config_file(f"{file}:{variant}")
        complete = deep_align.complete(config)
        _align_checks.check_values(complete)
        assert complete.experiment == "deep_align"
    with pytest.raises(ValueError, match="Variants are"):
        harness.load_config_file(f"{file}:huge")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "siren"])
def test_other_kinds_of_networks_are_aligned(kind, tmp_path, monkeypatch):
    """The population is made, and another one of other widths."""
    if kind == "cnn":  # INRs and MLPs count what they find again
        found = {"twins": 1.0, "changed_twins": 0.5}
        monkeypatch.setattr(matcher_training, "recovered", lambda *_: found)
    config = small.config(kind, None, methods=("naive", "ours"))
    config.other_width.hidden_sizes = (5,)
    if kind == "siren":
        config.population.data.num_images = 24
        config.population.fits_per_image = 2
        config.population.architecture.hidden_sizes = (4,)
        config.population.fit.num_steps = 2
    else:
        config.population.num_networks, config.other_width.num_networks = 24, 4
        config.population.architecture.channels = (3,)
        config.population.training.num_steps = 2
    results = small.run(config, tmp_path / "run")
    names = {path.name.partition("_")[0] for path in (tmp_path / "run").glob("*.zoo")}
    assert names == {"population.zoo", "other"}
    assert list(results["populations"]) == ["held_out", "other_width"]
    for population in results["populations"].values():
        assert population["num_pairs"] == 3
        for method in population["methods"].values():
            assert np.isfinite(method["barrier"])
            assert ("accuracy" in method) == (kind == "cnn")
    assert harness.to_text(_align_results.tables(results))
