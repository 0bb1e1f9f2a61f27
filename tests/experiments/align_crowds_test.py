"""Means of crowds: who is drawn, twins that meet, numbers that are kept, refusals."""

import jax
import numpy as np
import pytest

from experiments.compare import _align_crowds
from experiments.populations import _align_population
from experiments.train import _align_training
from symmerge_jax import deep_align, symmetry
from tests.experiments import populations as small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Twins of one network, and a matcher that has learned nothing but tells all."""
    folder = tmp_path_factory.mktemp("crowds")
    config = small.config("mlp", small.save_zoo(folder / "a.zoo", "mlp"))
    population = _align_population.load(config, folder)
    spec = population.network.spec
    # Positive biases: neurons that are zero on all probes cannot be told apart.
    one = {
        layer: {"kernel": x["kernel"][0], "bias": np.abs(x["bias"][0])}
        for layer, x in population.params.items()
    }
    twins = symmetry.sample_orbit(jax.random.key(3), one, spec, 24, rescale=False)
    path = small.save_zoo(folder / "b.zoo", "mlp", params=jax.device_get(twins))
    config.zoo, config.crowds.sizes, config.crowds.num_crowds = path, (2, 3), 2
    config.ours.features.num_probes = 32
    population = _align_population.load(config, folder)
    matcher = _align_training.make_matcher(config, "ours", population)
    trained = deep_align.TrainedMatcher(
        architecture=population.architecture,
        features=_align_training.features(config, "ours"),
        statistics=population.statistics,
        variables=jax.jit(matcher.init)(jax.random.key(0)),
        metadata={},
    )
    models = {("ours", 0): trained}
    results = _align_crowds.compare(config, population, models, folder)
    return config, population, models, folder, results


@pytest.mark.slow
def test_aligned_twins_have_the_mean_that_they_are(run):
    results = run[-1]
    members = results["members"]["sizes"]
    for size in ("2", "3"):
        for name in ("ours", "ours_merge_many"):
            numbers = results[name]["sizes"][size]
            assert numbers["loss"] == pytest.approx(members[size]["loss"], rel=1e-4)
            assert numbers["accuracy"] == members[size]["accuracy"]
            assert numbers["accuracy_std"] is None  # of one seed
        naive = results["naive"]["sizes"][size]["loss"]
        assert abs(naive - members[size]["loss"]) > 1e-3
    assert "deep_align" not in results  # not among config.models


@pytest.mark.slow
def test_what_was_measured_is_kept(run):
    config, population, models, folder, results = run
    files = {p: p.stat().st_mtime_ns for p in (folder / "cells").rglob("*.npz")}
    assert len(files) == 2 * len(results)
    assert _align_crowds.compare(config, population, models, folder) == results
    assert files == {p: p.stat().st_mtime_ns for p in files}
    table = _align_crowds.lines(results)
    assert table[0].split()[-2:] == ["2", "3"]
    assert len(table) == 1 + len(results)


@pytest.mark.slow
def test_crowds_are_held_out_and_different(run):
    config, population, *_ = run
    rows = _align_crowds.draw(config, population, 0)
    assert rows.shape == (2, 3)
    assert set(rows.ravel()) <= set(population.parts["test"])
    assert all(len(set(row)) == 3 for row in rows)
    np.testing.assert_array_equal(rows, _align_crowds.draw(config, population, 0))
    assert (rows != _align_crowds.draw(config, population, 1)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (1,)}, "lie in 2..6"),
        ({"sizes": (7,)}, "lie in 2..6"),
        ({"sizes": (2, 2)}, "must differ"),
        ({"num_crowds": 0}, "num_crowds must be >= 1, got 0"),
    ],
)
@pytest.mark.slow
def test_crowds_that_cannot_be_drawn_are_refused(run, changes, message):
    config = run[0].copy_and_resolve_references()
    config.crowds.update(changes)
    with pytest.raises(ValueError, match=message):
        _align_crowds.check(config, run[1])


@pytest.mark.slow
def test_crowds_of_inrs_are_refused(run):
    inrs = run[1]._replace(group=np.zeros(24, int))
    with pytest.raises(ValueError, match="not for SIRENs"):
        _align_crowds.check(run[0], inrs)
