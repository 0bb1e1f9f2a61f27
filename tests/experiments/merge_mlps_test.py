import json

import numpy as np
import pytest

import symmerge_jax
from experiments import harness
from experiments.compare import _methods, _paths, merge_mlps
from symmerge_jax import networks
from tests.experiments import configs

FILES = {
    "cells",
    "checkpoints",
    "config.json",
    "metrics.jsonl",
    "networks",
    "paths.pdf",
    "paths.png",
    "results.json",
    "results.npz",
    "versions.json",
}


def tiny(**changes):
    config = configs.load("merge_mlps", "smoke")
    config.architecture.hidden_sizes = (4,)
    config.data.num_images = 120
    config.training.batch_size = 50
    config.training.num_epochs = 2
    config.methods = ("naive", "matching_best")
    config.update_from_flattened_dict(changes)
    return config


def run(config, workdir):
    return harness.run(merge_mlps.EXPERIMENT, config, workdir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = tiny(num_pairs=2)
    return config, workdir, run(config, workdir)


@pytest.mark.slow
def test_a_run_leaves_its_networks_results_and_curves(finished):
    config, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    naive, matched = (results["methods"][name] for name in config.methods)
    assert naive["seconds"] == naive["function_error"] == 0 < matched["seconds"]
    assert matched["function_error"] < 1e-8
    assert naive["test_barrier_stderr"] >= 0
    assert len(results["networks"]) == 4
    with np.load(workdir / "results.npz") as arrays:
        curve = arrays["matching_best/test_loss"]
        assert curve.shape == (2, config.num_points)
        ends = [network["test_loss"] for network in results["networks"]]
        np.testing.assert_allclose(curve[:, [0, -1]].ravel(), ends, rtol=1e-5)
    file = workdir / "networks" / "3.safetensors"
    architecture = symmerge_jax.load_architecture(file)
    assert architecture["layer_sizes"] == [64, 4, 10]
    networks.build(architecture).spec.sizes(symmerge_jax.load(file))


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_takes_further_methods(
    finished, monkeypatch
):
    config, workdir, results = finished
    written = (workdir / "networks" / "0.safetensors").read_bytes()
    monkeypatch.setattr(_paths, "between", None)  # nothing is measured again
    again = run(config, workdir)
    assert again == results
    assert (workdir / "networks" / "0.safetensors").read_bytes() == written
    monkeypatch.undo()
    more = config.copy_and_resolve_references()
    more.methods = ("matching_best", "matching_p")
    found = run(more, workdir)["methods"]
    assert list(found) == list(more.methods)
    assert found["matching_best"] == results["methods"]["matching_best"]
    more.training.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"another config: training\.learning_rate"):
        run(more, workdir)


@pytest.mark.slow
def test_the_table_says_what_methods_see_data_last(finished):
    _, _, results = finished
    methods = {"other": {**results["methods"]["naive"], "sees": "data"}}
    [table] = merge_mlps.tables({**results, "methods": methods | results["methods"]})
    assert table.caption.startswith("2 pairs of MLPs")
    assert [row[:2] for row in table.rows] == [
        ("naive", "weights"),
        ("matching P + scale, best start", "weights"),
        ("naive", "data"),
    ]
    naive = results["methods"]["naive"]
    accuracy, error = (naive[f"test_midpoint_accuracy{x}"] for x in ("", "_stderr"))
    cells = dict(zip(table.columns, map(str, table.rows[0]), strict=True))
    assert cells["mid acc %"] == f"{100 * accuracy:.2f} ± {100 * error:.2f}"


@pytest.mark.slow
def test_methods_with_options_of_their_own_align_a_pair(tmp_path):
    """What every method owes is tested once, in `methods_test`."""
    assert tuple(merge_mlps.plan(tiny(methods=())).methods) == merge_mlps.METHODS
    chosen = ("activation_matching", "matching_best_sinkhorn", "straight_through")
    config = tiny(methods=chosen)
    for group in ("sinkhorn", "straight_through"):
        config[group].update(num_steps=2, eval_every=2, batch_size=8, eval_size=20)
    results = run(config, tmp_path / "run")
    assert tuple(results["methods"]) == chosen
    for name, method in results["methods"].items():
        assert method["sees"] == _methods.METHODS[name].sees
        assert np.isfinite(method["test_barrier"]), name
        assert method["function_error"] < 1e-8, name


@pytest.mark.slow
def test_mnist_variants_run(tmp_path, data_dir):
    for variant in ("mnist_512", "mnist_narrow"):
        config = configs.load("merge_mlps", variant)
        config.data.num_images = 500
        config.training.num_epochs = 1
        config.architecture.hidden_sizes = (4, 3)
        config.methods = ("naive",)
        config.num_points = 3
        results = run(config, tmp_path / variant)
        assert results["networks"][0]["test_loss"] > 0


def test_digits_are_divided_into_parts_that_share_nothing():
    found, again = (merge_mlps.plan(tiny()).mlps.task for _ in range(2))
    assert (len(found.train.targets), len(found.test.targets)) == (96, 24)
    train = {row.tobytes() for row in found.train.inputs}
    assert not train & {row.tobytes() for row in found.test.inputs}
    np.testing.assert_array_equal(found.test.inputs, again.test.inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("naive", "magic")}, r"has 'magic', known are naive"),
        ({"methods": ("naive", "naive")}, "each method once"),
        ({"architecture.activation": "gelu"}, "'matching_best', which means nothing"),
        ({"num_points": 4}, "must be odd and >= 3"),
        ({"num_pairs": 0}, r"config\.num_pairs must be >= 1"),
        ({"matching_best.max_sweeps": -1}, "max_sweeps"),
        ({"sinkhorn.cost": "l3", "methods": ("sinkhorn",)}, "cost"),
        ({"data.test_fraction": 1.0}, r"must lie in \(0, 1\)"),
        ({"data.test_fraction": 0.001}, "one part is empty"),
        ({"training.batch_size": 97}, "larger than the 96"),
        ({"architecture.activation": "swish"}, "Unknown activation 'swish'"),
    ],
)
def test_bad_configs_are_refused_before_any_work(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="Variants are"):
        configs.load("merge_mlps", "huge")
