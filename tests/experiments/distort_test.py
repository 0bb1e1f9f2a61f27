import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.train import _distort
from symmerge_jax import networks, testing

SIREN = {"kind": "siren", "layer_sizes": [2, 3, 1]}
WAVE = {"kind": "siren", "layer_sizes": [1, 3, 1]}


def options(**changes):
    return ConfigDict({"distort": _distort.default_options() | changes})


def population(num, num_inputs=2):
    network = networks.siren((num_inputs, 3, 1))
    keys = jax.random.split(jax.random.key(3), num)
    each = [testing.random_params(key, network, std=0.05) for key in keys]
    return network, jax.tree.map(lambda *x: np.stack(x), *each)


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_transformed_network_draws_the_transformed_image(inputs):
    network, params = population(2, inputs)
    random = np.random.default_rng(0)
    matrix = random.normal(size=(2, inputs, inputs)).astype(np.float32)
    offset = random.normal(size=(2, inputs)).astype(np.float32)
    points = random.uniform(-1, 1, (5, inputs)).astype(np.float32)
    moved = _distort.transform_coordinates(params, matrix, offset)
    for n in range(2):
        one = jax.tree.map(lambda x, n=n: x[n], params)
        other = jax.tree.map(lambda x, n=n: x[n], moved)
        where = points @ matrix[n].T + offset[n][None]
        np.testing.assert_allclose(
            network.apply(other, points), network.apply(one, where), atol=2e-5
        )


def test_each_network_is_moved_within_the_limits(key):
    """The first layer reads coordinates as they are: it shows matrix and offset."""
    num = 200
    params = {
        "dense_0": {
            "kernel": np.broadcast_to(np.eye(2, dtype=np.float32), (num, 2, 2)),
            "bias": np.zeros((num, 2), np.float32),
        }
    }
    config = options(rotation=30.0, scale=0.2, shift=0.5)
    moved = _distort.distort(key, params, config)["dense_0"]
    matrix = np.swapaxes(np.asarray(moved["kernel"]), 1, 2)
    scales = np.linalg.norm(matrix, axis=1)
    angles = np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    products = np.sum(matrix[..., 0] * matrix[..., 1], axis=1)
    np.testing.assert_allclose(products, 0, atol=1e-6)  # a rotation after scales
    for values, largest in (
        (angles, 30.0),
        (np.log(scales), 0.2),
        (np.asarray(moved["bias"]), 0.5),
    ):
        assert np.abs(values).max() <= largest * 1.0001
        assert values.min() < -0.8 * largest and values.max() > 0.8 * largest


def test_signals_are_scaled_and_moved_within_the_limits(key):
    num = 200
    params = {
        "dense_0": {
            "kernel": np.ones((num, 1, 1), np.float32),
            "bias": np.zeros((num, 1), np.float32),
        }
    }
    moved = _distort.distort(key, params, options(scale=0.2, shift=0.5))["dense_0"]
    for values, largest in ((np.log(moved["kernel"]), 0.2), (moved["bias"], 0.5)):
        assert np.abs(values).max() <= largest * 1.0001
        assert values.min() < -0.8 * largest and values.max() > 0.8 * largest


def test_a_rotation_of_signals_is_refused(key):
    _, params = population(2, 1)
    with pytest.raises(ValueError, match=r"2 coordinates; these read 1.*rotation=0"):
        _distort.distort(key, params, options(rotation=1.0, shift=0.1))


def test_nothing_is_changed_by_default(key):
    _, params = population(2)
    still = _distort.distort(key, params, options())
    jax.tree.map(np.testing.assert_array_equal, still, params)


@pytest.mark.parametrize(
    ("changes", "architecture", "message"),
    [
        ({"scale": -0.1}, SIREN, "config.distort: scale must be >= 0"),
        ({"shift": 0.1}, {"kind": "cnn"}, "shift change the coordinates.*'cnn'"),
        ({"rotation": 1.0}, WAVE, "rotation turns images.*these read 1"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, architecture, message):
    with pytest.raises(ValueError, match=message):
        _distort.check_options(options(**changes), architecture)
    _distort.check_options(options(), {"kind": "cnn"})
    _distort.check_options(options(scale=0.1, shift=0.1), WAVE)
