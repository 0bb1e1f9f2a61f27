"""Means of crowds: who is drawn, twins that meet, numbers that are kept, refusals."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.compare import _align_cells, _align_results, deep_align
from experiments.train import matcher_training
from symmerge_jax import symmetry
from tests.experiments import populations as small

METHODS = ("naive", "ours", "ours_merge_many")
"""What is run; the others, which need no matcher, run in `methods_test`."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Twins of one network, and a matcher that has learned nothing but tells all."""
    folder = tmp_path_factory.mktemp("crowds")
    config = small.config("mlp", small.save_zoo(folder / "a.zoo", "mlp"))
    population = small.load(config, folder)
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
    plan = deep_align.plan(config)
    assert set(plan.crowd_methods) == {"merge_many", "universe", *METHODS}
    plan = plan._replace(crowd_methods=METHODS)
    population = small.load(config, folder)
    matcher = matcher_training.plan(config, "ours").untrained(population)
    variables = jax.jit(matcher.matcher.init)(jax.random.key(0))
    models = {("ours", 0): dataclasses.replace(matcher, variables=variables)}
    cells = _align_cells.crowds(plan, population, models, folder)
    return plan, population, models, folder, cells


@pytest.mark.slow
def test_aligned_twins_have_the_mean_that_they_are(run):
    plan, population, *_, cells = run
    results = _align_results._crowd_numbers(plan, population.network.spec, cells)
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
    table = _align_results._crowd_table(results)
    assert table.columns == ("method", "sees", "k = 2", "k = 3")
    assert [row[0] for row in table.rows][:2] == ["(the networks)", "naive"]


@pytest.mark.slow
def test_what_was_measured_is_kept(run):
    plan, population, models, folder, cells = run
    files = {p: p.stat().st_mtime_ns for p in (folder / "cells").rglob("*.npz")}
    assert len(files) == len(cells) == 2 * (1 + len(plan.crowd_methods))
    again = _align_cells.crowds(plan, population, models, folder)
    jax.tree.map(np.testing.assert_array_equal, again, cells)
    assert files == {p: p.stat().st_mtime_ns for p in files}


@pytest.mark.slow
def test_crowds_are_held_out_and_different(run):
    plan, population, *_ = run
    draw = _align_cells.draw_crowds
    rows = draw(plan, population, 0)
    assert rows.shape == (2, 3)
    assert set(rows.ravel()) <= set(population.parts["test"])
    assert all(len(set(row)) == 3 for row in rows)
    np.testing.assert_array_equal(rows, draw(plan, population, 0))
    assert (rows != draw(plan, population, 1)).any()
