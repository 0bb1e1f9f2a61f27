import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import harness, populations
from experiments.paper import _plan, reproduce
from experiments.populations import _image_splits, make_classifier_zoo
from experiments.train import autoencode_classifiers
from symmerge_jax import networks, zoo
from tests.experiments import configs


def config_of(variant, **changes):
    config = configs.load("zoo_mlp", variant)
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlps") / "mlps.zoo"
    config = config_of("smoke", **{"data.num_images": 60, "num_networks": 12})
    return path, config, make_classifier_zoo.run(config, path)


def test_the_config_of_mlps_makes_a_zoo_as_planned(made):
    path, config, mlps = made
    assert len(mlps) == 12
    assert mlps.architecture["layer_sizes"] == [64, 64, 64, 10]
    planned = make_classifier_zoo.plan(config)
    assert planned.architecture == mlps.architecture
    text = zoo.summary(zoo.load(path))
    assert "kind mlp, layer_sizes [64, 64, 64, 10]" in text and "test_accuracy" in text


def test_networks_differ_only_in_their_seed(made):
    _, _, mlps = made
    for name in ("learning_rate", "init_scale", "l2reg", "train_fraction"):
        assert len(np.unique(mlps.metrics[name])) == 1, name
    kernels = np.asarray(mlps.params["dense_0"]["kernel"])
    assert len(np.unique(kernels[:, 0, 0])) == 12


def test_variants_name_what_they_train():
    mnist = config_of("mnist")
    assert mnist.architecture.hidden_sizes == (128, 128, 128)
    assert (mnist.num_networks, mnist.data.source) == (1000, "mnist")
    assert config_of("digits").architecture.hidden_sizes == (64, 64)
    with pytest.raises(ValueError, match=r"Variants are .*'smoke'"):
        config_of("cifar10")


def test_hyper_parameters_may_be_ranges():
    config = harness.override_config(
        config_of("smoke"), {"training.learning_rate": "(5e-4,2e-2)"}
    )
    *_, arguments = make_classifier_zoo.read_config(config)
    assert arguments["options"].learning_rate == (5e-4, 2e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture.kind": "siren"}, "must be 'mlp', or omitted for CNNs"),
        (
            {"architecture.channels": (4,)},
            r"unknown config key 'architecture\.channels",
        ),
        ({"architecture.hidden_sizes": (0,)}, "layer_sizes must list"),
        ({"data.source": "digits/test"}, "'digits' has no split 'test'"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    config = config_of("smoke")
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        make_classifier_zoo.plan(config)


def test_configs_of_cnns_have_the_keys_that_they_had():
    config = make_classifier_zoo.complete_config(ConfigDict({"num_networks": 3}))
    assert set(config.architecture) == {
        *("activation", "channels", "kernel_size", "readout", "stride")
    }
    with pytest.raises(ValueError, match=r"unknown config key 'architecture\.hidden"):
        make_classifier_zoo.complete_config(
            ConfigDict({"architecture": {"hidden_sizes": (4,)}})
        )


def test_a_stage_of_a_reproduction_may_be_mlps(made, tmp_path):
    stage = _plan.stage(
        "zoo_mlp.py:smoke",
        "architecture.hidden_sizes=8,8",
        section=_plan.SECTIONS[0],
        label="MLPs",
    )
    config = _plan.make_config("title", configs.CONFIGS, {"mlps": stage})
    found = _plan.read(config, tmp_path)["mlps"]
    assert found.is_zoo and found.config.architecture.hidden_sizes == (8, 8)
    found.output.parent.mkdir()
    shutil.copy(made[0], found.output)
    text = reproduce.write_report(config, tmp_path).with_suffix(".md").read_text()
    assert "| MLPs | 12 | digits/train | MLP, relu |" in " ".join(text.split())


def test_autoencoders_of_classifiers_read_mlps_too(made):
    path, _, mlps = made
    config = autoencode_classifiers.default_config()
    config.zoo, config.data.num_images, config.images_per_step = str(path), 60, 8
    task = populations.classifier_source(config).planned.task
    assert task.train.inputs.shape == (48, 64)
    network = networks.build(mlps.architecture)
    one = jax.tree.map(lambda x: x[0], dict(mlps.params))
    found = networks.evaluate_classifier(network.apply, one, *task.test)
    np.testing.assert_allclose(
        found["accuracy"], mlps.metrics["test_accuracy"][0], rtol=1e-6
    )


def test_one_split_can_be_divided(data_dir):
    """The test images of Fashion-MNIST are more often at hand than the others."""
    config = config_of("fashion", **{"data.dir": str(data_dir), "data.num_images": 50})
    train, test = _image_splits.load_splits(config)
    assert (len(train.labels), len(test.labels)) == (40, 10)
    assert (train.name, test.name) == (
        *("fashion_mnist/test/train", "fashion_mnist/test/test"),
    )
    whole = zoo.load_images("fashion_mnist", "test", data_dir, num_images=50)
    both = np.sort(np.concatenate([train.images, test.images]).sum(axis=(1, 2)))
    np.testing.assert_array_equal(both, np.sort(whole.images.sum(axis=(1, 2))))
