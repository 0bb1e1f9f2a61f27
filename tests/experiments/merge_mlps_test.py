import json

import numpy as np
import pytest

import symmerge_jax
from experiments.compare import _mlp_methods, _mlp_paths, merge_mlps
from experiments.populations import _mlp_training
from symmerge_jax import alignment, networks, symmetry
from tests.experiments import configs

FILES = {
    "alignments",
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
    config.methods = ("naive", "weight_matching")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = tiny(num_pairs=2)
    return config, workdir, merge_mlps.run(config, workdir)


@pytest.mark.slow
def test_a_run_leaves_its_networks_results_and_curves(finished):
    config, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    naive, matched = (results["methods"][name] for name in config.methods)
    assert naive["seconds"] == 0 and matched["seconds"] > 0
    assert matched["function_error"] < 1e-8
    assert naive["test_barrier_stderr"] >= 0
    assert len(results["networks"]) == 4
    with np.load(workdir / "results.npz") as arrays:
        curve = arrays["weight_matching/test_loss"]
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
    monkeypatch.setattr(_mlp_paths, "measure_path", None)  # nothing is measured again
    again = merge_mlps.run(config, workdir)
    assert again == results
    assert (workdir / "networks" / "0.safetensors").read_bytes() == written
    monkeypatch.undo()
    more = config.copy_and_resolve_references()
    more.methods = ("weight_matching", "weight_matching_identity")
    found = merge_mlps.run(more, workdir)["methods"]
    assert list(found) == list(more.methods)
    assert found["weight_matching"] == results["methods"]["weight_matching"]
    more.training.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"another config: training\.learning_rate"):
        merge_mlps.run(more, workdir)


@pytest.mark.slow
def test_table_keeps_data_free_methods_apart(finished):
    _, _, results = finished
    methods = {**results["methods"]}
    methods["other"] = {**methods["naive"], "label": "other", "uses_data": True}
    lines = merge_mlps.table({"methods": methods}).splitlines()
    assert [line[:5].strip() for line in lines] == [
        "test", "-- we", "naive", "weigh", "-- wi", "other"
    ]  # fmt: skip
    accuracy = 100 * results["methods"]["naive"]["test_midpoint_accuracy"]
    assert f"{accuracy:.2f}" in lines[2]


@pytest.mark.slow
def test_every_method_aligns_a_pair(tmp_path):
    config = tiny(methods=tuple(_mlp_methods.METHODS))
    for group in ("sinkhorn_rebasin", "straight_through"):
        config[group].update(num_steps=2, eval_every=2, batch_size=8, eval_size=20)
    results = merge_mlps.run(config, tmp_path / "run")
    assert list(results["methods"]) == list(_mlp_methods.METHODS)
    for name, method in results["methods"].items():
        assert method["uses_data"] == _mlp_methods.METHODS[name].uses_data
        assert np.isfinite(method["test_barrier"]), name
        if name != "naive":
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
        results = merge_mlps.run(config, tmp_path / variant)
        assert results["networks"][0]["test_loss"] > 0


def test_twins_are_joined_without_a_barrier(key):
    """Negative test too: as they are, they are not."""
    network = networks.mlp((64, 8, 10), use_bias=False)
    data = _mlp_training.load_data(tiny())
    params_a = network.init(key)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params_a))
    params_b = symmetry.act(element, params_a, network.spec)
    problem = _mlp_paths.make_problem(network, params_a, params_b, None)
    moved, found = _mlp_paths.align_pair(
        network, alignment.WeightMatching(), problem, key
    )
    assert found["function_error"] < 1e-12 and found["converged"]
    aligned, naive = (
        _mlp_paths.measure_path(network, params_a, b, data, 5)["numbers"]
        for b in (moved, params_b)
    )
    assert aligned["test_barrier"] < 1e-6 < abs(naive["test_midpoint_loss"] - aligned["test_midpoint_loss"])  # fmt: skip  # noqa: E501


def test_digits_are_divided_into_parts_that_share_nothing():
    config = tiny()
    data = _mlp_training.load_data(config)
    assert (len(data.train_labels), len(data.test_labels)) == (96, 24)
    train = {row.tobytes() for row in data.train_inputs}
    assert not train & {row.tobytes() for row in data.test_inputs}
    again = _mlp_training.load_data(config)
    np.testing.assert_array_equal(data.test_inputs, again.test_inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("naive", "magic")}, r"has 'magic', known are naive"),
        ({"methods": ("naive", "naive")}, "each once"),
        ({"methods": ()}, "at least one method"),
        ({"num_points": 4}, "must be odd and >= 3"),
        ({"num_pairs": 0}, r"config\.num_pairs must be >= 1"),
        ({"weight_matching.max_sweeps": -1}, "max_sweeps"),
        ({"data.test_fraction": 1.0}, r"must lie in \(0, 1\)"),
        ({"data.test_fraction": 0.001}, "one part is empty"),
        ({"training.batch_size": 97}, "larger than the 96"),
        ({"architecture.activation": "swish"}, "Unknown activation 'swish'"),
    ],
)
def test_bad_configs_are_refused_before_any_work(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        merge_mlps.run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="Variants are"):
        configs.load("merge_mlps", "huge")
