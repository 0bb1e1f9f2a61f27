import dataclasses
import json

import jax
import numpy as np
import pytest

import symmerge_jax
from experiments import harness, populations
from experiments.populations import make_classifier_zoo
from experiments.train import _classifier_measures, autoencode_classifiers
from symmerge_jax import training, zoo
from tests.experiments import configs

EXPERIMENT = autoencode_classifiers.EXPERIMENT


def run(config, workdir):
    return harness.run(EXPERIMENT, config, workdir)


def smoke_config(**changes):
    """The smoke config with an encoder that compiles in no time."""
    config = configs.load("cnn_autoencoder", "smoke")
    config.encoder.kind = "probe"
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cnn") / "run"
    return workdir, run(smoke_config(), workdir)


@pytest.mark.slow
def test_a_run_leaves_what_it_measured(finished):
    workdir, results = finished
    assert (
        json.loads((workdir / "results.json").read_text())["test_kl"]
        == (results["test_kl"])
    )
    for name in ("accuracies.png", "curves.png", "classifiers.zoo", "versions.json"):
        assert (workdir / name).stat().st_size > 0
    for part in ("train", "val", "test"):
        assert 0 <= results[f"{part}_agreement"] <= 1
    assert results["orbit_spread"] < 1e-5
    assert results["num_train"] + results["num_test"] == 12 - 3
    series = training.read_metrics(workdir / "metrics.jsonl")
    assert len(series["val/kl"].values) == 2
    text = harness.to_text(EXPERIMENT.tables(results))
    assert "test_agreement" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["neural_graphs", "relational_transformer"])
def test_neural_graphs_read_cnns_too(tmp_path, kind):
    config = smoke_config(augment=True, num_steps=2)
    config.encoder.update({"kind": kind, "input_value": 0.0, "num_frequencies": 4})
    config.encoder.update({"num_layers": 1, "num_probes": 0})
    results = run(config, tmp_path)
    assert 0 <= results["test_agreement"] <= 1
    assert results["orbit_spread"] > 1e-4  # scales are no symmetry of theirs


@pytest.mark.slow
def test_evaluating_again_gives_the_same(finished):
    workdir, results = finished
    again = harness.evaluate(EXPERIMENT, workdir)
    times = {"encoded_per_second", "seconds_per_step"}
    for name in results.keys() - times:
        np.testing.assert_allclose(again[name], results[name], rtol=1e-4)


@pytest.mark.slow
def test_the_canonicalizer_serves_the_verb(finished):
    workdir, _ = finished
    canonicalizer = symmerge_jax.load_canonicalizer(workdir)
    cnns = zoo.load(workdir / "classifiers.zoo")
    for form in ("decoded", "template"):
        found = symmerge_jax.canonicalize(
            cnns.params, canonicalizer.spec, canonicalizer=canonicalizer, form=form
        ).params
        jax.tree.map(
            lambda a, b: np.testing.assert_equal(a.shape, b.shape),
            dict(found),
            dict(cnns.params),
        )


def test_a_decoder_of_one_good_network_is_told_from_a_faithful_one():
    accuracy = np.array([0.9, 0.5, 0.7, 0.8])
    faithful = _classifier_measures.summary(
        {"accuracy": accuracy - 0.01, "accuracy_original": accuracy}
    )
    assert faithful["accuracy_l1"] == pytest.approx(0.01)
    assert faithful["accuracy_tau"] == pytest.approx(1)
    assert faithful["accuracy_r2"] > 0.9
    assert faithful["top_kept"] == pytest.approx((0.89 / 0.9 + 0.79 / 0.8) / 2)
    same = _classifier_measures.summary(
        {"accuracy": np.array([0.9, 0.9, 0.91, 0.9]), "accuracy_original": accuracy}
    )
    assert same["accuracy_r2"] < 0 and same["top_kept"] > 1


def test_statistics_of_tensors():
    params = {"a": {"kernel": np.arange(12.0).reshape(2, 2, 3)}}
    found = _classifier_measures.tensor_statistics(params)
    expected = [2.5, 35 / 12, 0, 1.25, 2.5, 3.75, 5]
    np.testing.assert_allclose(found[0], expected)
    assert found.shape == (2, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill_on": "validation"}, "distill_on must be 'train' or 'test'"),
        ({"images_per_step": 99}, r"images_per_step must lie in 1\.\.64"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"batch_size": 50}, "batch of 50 is larger than the 6 networks"),
        ({"encoder.width": 0}, "must be >= 1"),
        ({"evaluate_every": 0}, "evaluate_every must be >= 1"),
        ({"num_probe_networks": 0}, "num_probe_networks must be >= 1, got 0"),
        ({"num_orbits": 0}, "num_orbits must be >= 1, got 0"),
        ({"num_images": 0}, r"num_images must lie in 1\.\.64, .* got 0"),
        ({"num_val_images": 0}, "num_val_images must be >= 1, got 0"),
        ({"num_images": 65}, r"num_images must lie in 1\.\.64, .* got 65"),
        ({"data.num_images": 0}, r"num_images must lie in 1\.\.1797, .* got 0"),
        ({"architecture.channels": (4, 4, 4)}, "3 x 3 does not fit"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(smoke_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_zoo_is_taken_if_its_description_agrees(finished, tmp_path):
    made = finished[0] / "classifiers.zoo"
    other = smoke_config(zoo=str(made), **{"architecture.activation": "tanh"})
    with pytest.raises(ValueError, match=r"architecture\.activation='tanh'"):
        run(other, tmp_path / "run")


@pytest.mark.slow
def test_an_imported_zoo_tells_nothing_of_its_training(finished, tmp_path):
    made = zoo.load(finished[0] / "classifiers.zoo")
    imported = dataclasses.replace(made, provenance={"made_by": "somebody"})
    zoo.save(tmp_path / "x.zoo", imported)
    config = smoke_config(zoo=str(tmp_path / "x.zoo"), **{"training.num_steps": 7})
    source = populations.classifier_source(config)
    assert len(source.planned.parts["train"]) == 6
    config.architecture.activation = "tanh"
    with pytest.raises(ValueError, match=r"architecture\.activation='tanh'"):
        populations.classifier_source(config)


def test_zoo_config_makes_a_zoo(tmp_path):
    config = configs.load("zoo_cnn", "smoke")
    config.data.num_images = 40
    made = make_classifier_zoo.run(config, tmp_path / "x.zoo")
    assert len(made) == 4
    planned = make_classifier_zoo.plan(config)
    assert planned.architecture == made.architecture
    for variant in ("digits_tanh", "mnist_relu", "cifar10_tanh"):
        activation = configs.load("zoo_cnn", variant).architecture.activation
        assert activation == variant.split("_")[1]
    with pytest.raises(ValueError, match="Variants are 'digits_relu', "):
        configs.load("zoo_cnn", "mnist")
