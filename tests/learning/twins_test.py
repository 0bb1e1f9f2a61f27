import jax
import numpy as np
import pytest

from symmerge_jax import learning, networks, testing

SIREN = {"kind": "siren", "layer_sizes": [2, 3, 1]}
WAVE = {"kind": "siren", "layer_sizes": [1, 3, 1]}


def population(num, num_inputs=2):
    network = networks.siren((num_inputs, 3, 1))
    keys = jax.random.split(jax.random.key(3), num)
    each = [testing.random_params(key, network, std=0.05) for key in keys]
    return network, jax.tree.map(lambda *x: np.stack(x), *each)


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_transformed_network_draws_the_transformed_image(inputs):
    with jax.enable_x64(True):
        network, params = population(2, inputs)
        params = jax.tree.map(lambda x: x.astype(np.float64), params)
        random = np.random.default_rng(0)
        matrix = random.normal(size=(2, inputs, inputs))
        offset = random.normal(size=(2, inputs))
        points = random.uniform(-1, 1, (5, inputs))
        moved = learning.transform_coordinates(params, matrix, offset)
        for n in range(2):
            one = jax.tree.map(lambda x, n=n: x[n], params)
            other = jax.tree.map(lambda x, n=n: x[n], moved)
            where = points @ matrix[n].T + offset[n][None]
            np.testing.assert_allclose(
                network.apply(other, points), network.apply(one, where), atol=1e-12
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
    warp = learning.Warp(rotation=30.0, scale=0.2, shift=0.5)
    moved = learning.warp_coordinates(key, params, warp)["dense_0"]
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
    moved = learning.warp_coordinates(key, params, learning.Warp(scale=0.2, shift=0.5))[
        "dense_0"
    ]
    for values, largest in ((np.log(moved["kernel"]), 0.2), (moved["bias"], 0.5)):
        assert np.abs(values).max() <= largest * 1.0001
        assert values.min() < -0.8 * largest and values.max() > 0.8 * largest


def test_a_rotation_of_signals_is_refused(key):
    _, params = population(2, 1)
    warp = learning.Warp(rotation=1.0, shift=0.1)
    with pytest.raises(ValueError, match=r"2 coordinates; these read 1.*rotation=0"):
        learning.warp_coordinates(key, params, warp)


def test_nothing_is_changed_by_default(key):
    _, params = population(2)
    still = learning.warp_coordinates(key, params, learning.Warp())
    jax.tree.map(np.testing.assert_array_equal, still, params)


@pytest.mark.parametrize(
    ("changes", "architecture", "message"),
    [
        ({"scale": -0.1}, SIREN, "scale of a warp must be >= 0"),
        (
            {"shift": 0.1},
            {"kind": "cnn"},
            r"warp \(shift\) changes the coordinates.*'cnn'",
        ),
        ({"rotation": 1.0}, WAVE, "rotation turns images.*these read 1"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, architecture, message):
    with pytest.raises(ValueError, match=message):
        learning.Warp(**changes).check(architecture)
    learning.Warp().check({"kind": "cnn"})
    learning.Warp(scale=0.1, shift=0.1).check(WAVE)


def test_twins_are_new_with_every_key_and_compute_the_same():
    network = networks.siren((2, 5, 1))
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 3))
    first, second = (
        learning.random_twins(jax.random.key(i), params, network.spec) for i in (1, 2)
    )
    orbits = learning.random_orbits(jax.random.key(3), params, network.spec, 2)
    grid = np.random.default_rng(0).uniform(-1, 1, (7, 2)).astype(np.float32)
    render = jax.vmap(network.apply, in_axes=(0, None))
    expected = np.asarray(render(params, grid))
    for twins in (first, second):
        np.testing.assert_allclose(render(twins, grid), expected, atol=1e-5)
    np.testing.assert_allclose(
        render(orbits, grid), np.repeat(expected, 2, axis=0), atol=1e-5
    )
    kernels = [np.asarray(x["dense_0"]["kernel"]) for x in (params, first, second)]
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


def test_the_spread_of_an_orbit_is_relative_to_its_centre():
    latents = np.array([[[3.0, 4.0], [3.0, 6.0]], [[1.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_allclose(
        learning.orbit_spread(latents), [1 / np.hypot(3, 5), 0.0]
    )


def test_copies_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"scale must lie in \[0, 1\), got 1"):
        learning.CopyOptions(scale=1.0)
