import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from experiments import harness
from experiments.train import predict
from symmerge_jax import autoencoders, learning, zoo
from tests.experiments import cnns, configs, encoders

SIREN = {"kind": "siren", "layer_sizes": [2, 4, 1]}
NUM = 60


def run(config, workdir):
    return harness.run(predict.EXPERIMENT, config, workdir)


def two_classes():
    """INRs of two classes, dark and bright images."""
    random = np.random.default_rng(0)
    labels = np.arange(NUM) % 2
    params = {
        f"dense_{i}": {
            "kernel": random.normal(size=(NUM, a, b), scale=0.1).astype(np.float32),
            "bias": random.normal(size=(NUM, b), scale=0.1).astype(np.float32),
        }
        for i, (a, b) in enumerate([(2, 4), (4, 1)])
    }
    params["dense_1"]["bias"] += (2 * labels[:, None] - 1).astype(np.float32)
    made = {"source": "mnist/train"}
    return zoo.create(SIREN, params, labels=labels, provenance=made)


@pytest.fixture(scope="module")
def inrs(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoos") / "inrs.zoo"
    zoo.save(path, two_classes())
    return str(path)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """CNNs whose accuracy is how much their outputs differ from image to image."""
    _, params = cnns.random_networks(NUM)
    strength = np.linspace(0.05, 0.95, NUM, dtype=np.float32)
    random = np.random.default_rng(0).permutation(NUM)
    params = jax.tree.map(
        lambda x: x * strength[random].reshape(-1, *[1] * (x.ndim - 1)), params
    )
    path = tmp_path_factory.mktemp("zoos") / "cnns.zoo"
    metrics = {"test_accuracy": strength[random]}
    return cnns.save_zoo(path, NUM, metrics=metrics, params=params)


def probe_config(path, **changes):
    """A run whose encoder compiles in no time: everything else is under test."""
    config = predict.default_config()
    config.zoo = path
    config.encoder.kind = "probe"
    config.encoder.width = 8
    config.encoder.num_probes = 4
    config.val_fraction = config.test_fraction = 0.2
    config.num_steps = 60
    config.warmup_steps = 2
    config.batch_size = 16
    config.learning_rate = 2e-2
    config.evaluate_every = config.checkpoint_every = 30
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def of_labels(inrs, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "labels"
    changes = {"label_smoothing": 0.1, "distort.shift": 0.05}
    config = probe_config(inrs, augment=True, **changes)
    return config, workdir, run(config, workdir)


@pytest.fixture(scope="module")
def of_accuracies(classifiers, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "accuracies"
    config = probe_config(classifiers, task="accuracy")
    return config, workdir, run(config, workdir)


@pytest.mark.slow
def test_classes_are_learned_and_reported(of_labels):
    _, workdir, results = of_labels
    assert {file.name for file in workdir.iterdir()} == {
        "checkpoints", "config.json", "confusion.pdf", "confusion.png", "curves.pdf",
        "curves.png", "metrics.jsonl", "predictor", "results.json", "results.npz",
        "versions.json",
    }  # fmt: skip
    assert json.loads((workdir / "results.json").read_text()) == results
    assert results["accuracy"] == results["accuracy_of_twins"] == 1.0
    assert results["train_accuracy"] == 1.0
    assert results["cross_entropy"] < 0.5
    assert results["twin_change"] < 1e-3
    assert results["probe_weights"] == 1.0 and "probe_canonical" in results
    confusion = np.array(results["confusion"])
    assert confusion.sum() == results["num_test"] == 12
    assert np.trace(confusion) == 12
    assert results["num_train"] == 36


@pytest.mark.slow
def test_tables_explain_their_numbers(of_labels, of_accuracies):
    for results, measure in ((of_labels[-1], "probe_X"), (of_accuracies[-1], "tau_X")):
        text = harness.to_text(predict.EXPERIMENT.tables(results))
        assert measure in text and "confusion" not in text
        assert "num_parameters" in text


@pytest.mark.slow
def test_accuracies_are_ranked(of_accuracies):
    _, workdir, results = of_accuracies
    assert results["tau"] == results["tau_of_twins"] > 0.4
    assert -1 <= results["tau_statistics"] <= 1
    assert results["mae"] < 0.25
    assert (workdir / "accuracies.png").exists()
    assert {"r2", "train_tau", "val_tau", "best_step"} <= results.keys()


@pytest.mark.slow
def test_the_best_checkpoint_is_that_of_the_highest_measure(of_accuracies):
    _, workdir, results = of_accuracies
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    values = [line["val/tau"] for line in map(json.loads, lines) if "val/tau" in line]
    assert results["val_tau"] == pytest.approx(max(values))


@pytest.mark.slow
def test_a_finished_run_is_measured_again_and_not_trained(of_labels):
    config, workdir, results = of_labels
    before = (workdir / "metrics.jsonl").read_text()
    assert run(config, workdir) == results
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_a_zoo_that_was_exchanged_is_noticed(of_labels, tmp_path):
    config, workdir, _ = of_labels
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "copy"))
    changed = config.copy_and_resolve_references()
    other = dataclasses.replace(
        two_classes(), architecture={**two_classes().architecture, "w0": 10.0}
    )
    zoo.save(tmp_path / "other.zoo", other)
    changed.zoo = str(tmp_path / "other.zoo")
    harness.save_config(copy / "config.json", changed)
    with pytest.raises(ValueError, match=r"another architecture: w0 is 10\.0"):
        harness.evaluate(predict.EXPERIMENT, copy)


@pytest.mark.slow
def test_a_folder_without_a_run_is_refused(of_labels, tmp_path):
    _, workdir, _ = of_labels
    shutil.copy(workdir / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="No predictor in"):
        harness.evaluate(predict.EXPERIMENT, tmp_path)


@pytest.mark.slow
def test_a_damaged_predictor_is_named_and_exported_again(of_labels, tmp_path):
    config, workdir, results = of_labels
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "copy"))
    predict.EXPERIMENT.check_output(copy)
    (copy / "predictor/predictor.json").write_text("{}")
    for use in (predict.EXPERIMENT.check_output, harness.evaluate):
        arguments = (
            (copy,) if use is not harness.evaluate else (predict.EXPERIMENT, copy)
        )
        with pytest.raises(ValueError, match="predictor"):
            use(*arguments)
    assert run(config, copy) == results


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "loss"}, "config.task is 'loss', known are"),
        (
            {"accuracy_loss": "mse"},
            "accuracy_loss='mse' would be ignored with task='label'",
        ),
        ({"accuracy_loss": "l1"}, "accuracy_loss='l1' would be ignored"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\)"),
        ({"task": "accuracy", "label_smoothing": 0.1}, "would be ignored"),
        ({"task": "accuracy", "zoo": None}, "names no zoo of CNN classifiers"),
        ({"task": "accuracy"}, r"inrs\.zoo: there is no metric 'test_accuracy'"),
        ({"zoo": "nowhere.zoo"}, r"nowhere\.zoo"),
        ({"head.dropout": 1.0}, "dropout"),
        ({"distort.scale": -1.0}, "scale of a warp must be >= 0"),
        ({"batch_size": 40}, "A batch of 40 is larger than the 36 networks"),
        ({"log_every": 0}, "config.log_every must be >= 1"),
        ({"num_probe_networks": 0}, "config.num_probe_networks must be >= 1, got 0"),
        ({"encoder.num_probes": 0}, "a probe, or both"),
        ({"data.source": "mnist"}, "would be ignored with"),
    ],
)
def test_wrong_values_are_refused_before_any_work(inrs, tmp_path, changes, message):
    config = probe_config(inrs, **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def no_labels():
    return dataclasses.replace(two_classes(), labels=np.full(NUM, -1, np.int32))


def one_class():
    return dataclasses.replace(two_classes(), labels=np.full(NUM, 3, np.int32))


def accuracies(values):
    metrics = {"test_accuracy": np.broadcast_to(np.float32(values), NUM)}
    return dataclasses.replace(two_classes(), metrics=metrics)


@pytest.mark.parametrize(
    ("make", "task", "message"),
    [
        (no_labels, "label", "60 of the 60 networks have no label"),
        (one_class, "label", "have the label 3: there is nothing to predict"),
        (lambda: accuracies(0.5), "accuracy", "part 'val' .* same test_accuracy"),
        (lambda: accuracies(97.0), "accuracy", r"must lie in \[0, 1\]"),
        (lambda: accuracies(np.nan), "accuracy", r"must lie in \[0, 1\]"),
    ],
)
def test_zoos_with_nothing_to_predict_are_refused(tmp_path, make, task, message):
    zoo.save(tmp_path / "bad.zoo", make())
    config = probe_config(str(tmp_path / "bad.zoo"), task=task)
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("classify_inrs", ("mnist", "pretrained", "fashion", "digits", "smoke")),
        ("predict_accuracy", ("mnist", "small", "published")),
    ],
)
def test_configs_know_their_variants(name, variants):
    for variant in variants:
        config = configs.load(name, variant)
        config.zoo = config.zoo or "some.zoo"
        checked = harness.check_config(config, predict.default_config())
        predict._check_task(checked)
    with pytest.raises(ValueError, match="Variants are"):
        configs.load(name, "cifar")


@pytest.mark.slow
def test_the_smoke_config_reads_weights(tmp_path):
    results = run(configs.load("classify_inrs", "smoke"), tmp_path / "run")
    assert (tmp_path / "run" / "inrs.zoo").exists()
    assert results["twin_change"] < 1e-3
    assert results["num_steps"] == 4


@pytest.mark.slow
def test_training_starts_from_a_pretrained_encoder(inrs, tmp_path):
    encoders.save_run(tmp_path / "auto", inrs)
    config = probe_config(inrs, num_steps=2, warmup_steps=0)
    config.encoder = predict.default_config().encoder
    config.pretrained = str(tmp_path / "auto")
    results = run(config, tmp_path / "run")
    assert results["num_steps"] == 2
    trained = learning.load_predictor(tmp_path / "run")
    start = autoencoders.load_canonicalizer(tmp_path / "auto")
    assert trained.encoder == start.encoder_options
    assert trained.statistics == start.statistics  # not those of this zoo


def test_a_pretrained_encoder_that_does_not_fit_is_refused(inrs, tmp_path):
    config = probe_config(inrs, pretrained=str(tmp_path / "auto"))
    with pytest.raises(ValueError, match=r"kind='probe'.* would .* pretrained="):
        run(config, tmp_path / "run")
    config.encoder = predict.default_config().encoder
    with pytest.raises(FileNotFoundError, match="auto"):
        run(config, tmp_path / "run")
    other = {"kind": "siren", "layer_sizes": [2, 5, 1]}
    path = encoders.save_zoo(tmp_path / "other.zoo", architecture=other)
    encoders.save_run(tmp_path / "auto", path)
    with pytest.raises(ValueError, match=r"\[2, 5, 1\]"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
