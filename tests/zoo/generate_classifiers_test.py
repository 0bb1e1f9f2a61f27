import dataclasses

import jax
import numpy as np
import pytest

from symmerge_jax import networks, zoo

ARCHITECTURE = {
    "kind": "cnn",
    "image_shape": [6, 6, 1],
    "channels": [3],
    "num_classes": 2,
}
MLP = {"kind": "mlp", "layer_sizes": [36, 4, 2]}
OPTIONS = zoo.ZooOptions(
    num_steps=60,
    batch_size=16,
    keep_steps=(3,),
    learning_rate=(0.02, 0.05),
    train_fractions=(0.25, 1.0),
)


def make_images(num_images, seed):
    """Bright images of class 1, dark ones of class 0."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, num_images).astype(np.int32)
    images = generator.uniform(0, 0.5, (num_images, 6, 6)) + 0.5 * labels[:, None, None]
    return zoo.ImageSet(images.astype(np.float32), labels, f"blobs/{seed}")


TRAIN, TEST = make_images(64, 0), make_images(40, 1)


def generate(**options):
    arguments = {"architecture": ARCHITECTURE, "options": OPTIONS, **options}
    return zoo.generate_classifier_zoo(TRAIN, TEST, **arguments)


@pytest.fixture(scope="module")
def made():
    return generate(num_networks=5, chunk_size=2)


def test_networks_learn_and_are_kept_twice(made):
    assert len(made) == 10
    np.testing.assert_array_equal(made.image_index, np.repeat(np.arange(5), 2))
    np.testing.assert_array_equal(made.metrics["step"], [3, 60] * 5)
    early, late = (made.metrics["test_loss"][i::2] for i in (0, 1))
    assert np.median(late) < 0.5 * np.median(early)
    assert np.median(made.metrics["test_accuracy"][1::2]) > 0.9
    assert made.labels.tolist() == [-1] * 10
    assert made.provenance["num_diverged"] == 0


def test_every_network_has_hyperparameters_of_its_own(made):
    rates = made.metrics["learning_rate"]
    np.testing.assert_array_equal(rates[::2], rates[1::2])
    assert len(np.unique(rates)) == 5
    assert rates.min() >= 0.02 - 1e-6 and rates.max() <= 0.05 + 1e-6
    assert set(made.metrics["train_fraction"].tolist()) <= {0.25, 1.0}
    kernels = made.params["conv_0"]["kernel"]
    assert len(np.unique(kernels[:, 0, 0, 0, 0])) == 10


def test_measures_are_those_of_the_stored_weights(made):
    network = networks.build(made.architecture)
    logits = jax.vmap(network.apply, (0, None))(
        made.params, networks.classifier_inputs(TEST.images)
    )
    accuracy = np.mean(np.argmax(logits, axis=-1) == TEST.labels[None], axis=1)
    np.testing.assert_allclose(made.metrics["test_accuracy"], accuracy, atol=1e-6)


def test_mlps_read_the_pixels_row_by_row():
    options = dataclasses.replace(OPTIONS, keep_steps=(), num_steps=30)
    made = generate(num_networks=2, options=options, architecture=MLP)
    network = networks.build(made.architecture)
    rows = (2 * TEST.images - 1).reshape(40, 36)
    logits = jax.vmap(network.apply, (0, None))(made.params, rows)
    accuracy = np.mean(np.argmax(logits, axis=-1) == TEST.labels[None], axis=1)
    assert accuracy.max() > 0.9
    np.testing.assert_allclose(made.metrics["test_accuracy"], accuracy, atol=1e-6)
    first, second = made.params["dense_0"]["kernel"]
    assert np.abs(first - second).min() > 0


def test_all_networks_of_rows_of_pixels_are_taken():
    architecture = {"kind": "residual_mlp", "layer_sizes": [36, 4, 2]}
    architecture |= {"hidden_size": 3}
    recipe = zoo.classifier_recipe(
        TRAIN, TEST, num_networks=1, architecture=architecture
    )
    assert recipe["architecture"]["layer_sizes"] == [36, 4, 2]


def test_inputs_keep_the_order_of_the_pixels():
    images = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) * 51
    expected = [-1, -0.6, -0.2, 0.2, 0.6, 1]
    flat = networks.classifier_inputs(images, (6,))
    np.testing.assert_allclose(flat, [expected], atol=1e-6)
    for shape in (None, (2, 3, 1), [2, 3, 1]):
        whole = networks.classifier_inputs(images, shape)
        np.testing.assert_array_equal(whole, flat.reshape(1, 2, 3, 1))


def test_an_interrupted_zoo_is_the_uninterrupted_one(made, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, stats):
        if stats and done >= 2:
            raise Stopped

    path = tmp_path / "cnn.zoo"
    arguments = {"architecture": ARCHITECTURE, "options": OPTIONS}
    arguments |= {"num_networks": 5, "chunk_size": 2}
    with pytest.raises(Stopped):
        zoo.load_or_train_classifiers(path, TRAIN, TEST, on_chunk=stop, **arguments)
    reports = []
    again = zoo.load_or_train_classifiers(
        path, TRAIN, TEST, on_chunk=lambda *report: reports.append(report), **arguments
    )
    assert reports[0][0] >= 2
    jax.tree.map(np.testing.assert_array_equal, again.params, made.params)
    assert not path.with_name("cnn.zoo.parts").exists()
    other = {**arguments, "num_networks": 4}
    with pytest.raises(ValueError, match="its num_networks is 5, wanted 4"):
        zoo.load_or_train_classifiers(path, TRAIN, TEST, **other)


def test_networks_that_diverge_are_left_out_and_counted():
    wild = dataclasses.replace(
        OPTIONS, keep_steps=(), num_steps=3, learning_rate=(1e38, 3e38), decay=False
    )
    with pytest.raises(ValueError, match="All 2 networks diverged"):
        generate(num_networks=2, options=wild)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": (0.1, 0.01)}, "learning_rate must be a range"),
        ({"train_fractions": (0.0,)}, r"train_fractions must lie in \(0, 1\]"),
        ({"keep_steps": (9,), "num_steps": 9}, r"rise within 1..num_steps - 1"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        zoo.ZooOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_networks": 0}, "num_networks must be >= 1"),
        (
            {"architecture": {**ARCHITECTURE, "image_shape": [8, 8, 1]}},
            r"images blobs/0 do not fit .*'image_shape': \[8, 8, 1\].* reads inputs of"
            r" shape \(8, 8, 1\) cannot read images of 6 x 6 pixels",
        ),
        (
            {"architecture": {**ARCHITECTURE, "image_shape": [4, 9, 1]}},
            r"reads inputs of shape \(4, 9, 1\) cannot read images of 6 x 6",
        ),
        (
            {"architecture": {**MLP, "layer_sizes": [35, 2]}},
            r"images blobs/0 do not fit .*\[35, 2\].* shape \(35,\) cannot read images"
            r" of 6 x 6 pixels, which have the shape \(6, 6, 1\), or \(36,\) row by",
        ),
        (
            {"architecture": {**MLP, "layer_sizes": [36, 1]}},
            r"Labels of blobs/0 lie in 0..1, but the network has 1 outputs",
        ),
        (
            {"architecture": {**ARCHITECTURE, "num_classes": 1}},
            r"Labels of blobs/0 lie in 0..1, but the network has 1 outputs",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(**{"num_networks": 2, **arguments})
