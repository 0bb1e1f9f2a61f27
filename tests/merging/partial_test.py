"""Laws of partial merges, and networks of different widths."""

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import merging, networks

pytestmark = pytest.mark.fast
NETWORK = networks.mlp((3, 8, 6, 2), "relu")
X = np.random.default_rng(0).normal(size=(20, 3))


@pytest.fixture(scope="module")
def pair():
    with jax.enable_x64(True):
        return [NETWORK.init(key) for key in jax.random.split(jax.random.key(0))]


def outputs(params):
    with jax.enable_x64(True):
        return np.asarray(NETWORK.apply(params, X))


def test_with_all_neurons_apart_it_is_the_ensemble(pair):
    with jax.enable_x64(True):
        wide = merging.merge_partially(*pair, NETWORK.spec, 1.0, weights=[0.3, 0.7])
    expected = 0.3 * outputs(pair[0]) + 0.7 * outputs(pair[1])
    np.testing.assert_allclose(outputs(wide), expected, atol=1e-12)


def test_with_none_apart_it_is_the_mean(pair):
    with jax.enable_x64(True):
        found = merging.merge_partially(*pair, NETWORK.spec, 0.0)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *pair)
    np.testing.assert_allclose(outputs(found), outputs(mean), atol=1e-12)


@pytest.mark.parametrize("apart", [{"hidden_0": 3}, {"hidden_0": 5, "hidden_1": 2}])
def test_twins_keep_their_function(pair, apart):
    with jax.enable_x64(True):
        wide = merging.merge_partially(pair[0], pair[0], NETWORK.spec, apart)
    sizes = NETWORK.spec.sizes(wide)
    assert sizes["hidden_0"] == 8 + apart["hidden_0"]
    np.testing.assert_allclose(outputs(wide), outputs(pair[0]), atol=1e-12)


def test_convolutions_with_a_stream_and_norms_become_an_ensemble():
    def apply(params, x):
        def conv(x, kernel):
            return jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        x = conv(x, params["in"])
        y = (conv(x, params["up"]) - params["running_mean"]) * params["gain"]
        x = x + conv(jax.nn.relu(y), params["down"])
        return x.mean((1, 2)) @ params["out"]

    generator = np.random.default_rng(1)
    shapes = {
        "in": (1, 1, 2, 4),
        "up": (3, 3, 4, 5),
        "down": (3, 3, 5, 4),
        "gain": (1, 1, 1, 5),
        "running_mean": (1, 1, 1, 5),
        "out": (4, 3),
    }
    a, b = (
        {name: generator.normal(size=shape) for name, shape in shapes.items()}
        for _ in range(2)
    )
    x = generator.normal(size=(4, 5, 5, 2))
    with jax.enable_x64(True):
        network = symmerge_jax.trace(apply, a, x[:2])
        wide = merging.merge_partially(a, b, network.spec, 1.0)
        expected = (apply(a, x) + apply(b, x)) / 2
        found = apply(wide, x)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-12)


def test_pairs_that_agree_least_stay_apart(pair):
    other = jax.tree.map(np.array, pair[0])
    for name, axis in (("dense_0", 1), ("dense_1", 0)):
        kernel = np.moveaxis(other[name]["kernel"], axis, 0)
        kernel[[2, 5]] *= -1
    with jax.enable_x64(True):
        wide = merging.merge_partially(pair[0], other, NETWORK.spec, {"hidden_0": 2})
    kernel = np.asarray(wide["dense_0"]["kernel"])
    np.testing.assert_array_equal(
        kernel[:, 6:8], pair[0]["dense_0"]["kernel"][:, [2, 5]]
    )
    np.testing.assert_array_equal(kernel[:, 8:], other["dense_0"]["kernel"][:, [2, 5]])


def test_networks_of_different_widths_become_one_architecture(pair):
    small = networks.mlp((3, 5, 6, 2), "relu")
    with jax.enable_x64(True):
        narrow = small.init(jax.random.key(3))
        same = merging.widen(narrow, small.spec, {"hidden_0": 8})
        np.testing.assert_allclose(
            outputs(same), np.asarray(small.apply(narrow, X)), atol=1e-12
        )
        found = symmerge_jax.align(pair[0], same, NETWORK)
        wide = merging.merge_partially(pair[0], found.params, NETWORK.spec, 1.0)
    expected = (outputs(pair[0]) + outputs(same)) / 2
    np.testing.assert_allclose(outputs(wide), expected, atol=1e-9)
    dead = np.abs(np.asarray(found.params["dense_0"]["kernel"])).max(0) == 0
    assert dead.sum() == 3


@pytest.mark.parametrize(
    ("apart", "message"),
    [
        (1.5, r"share in \[0, 1\]"),
        ({"hidden_7": 1}, "'hidden_7'; those that can be wider are"),
        ({"hidden_0": 9}, "'hidden_0' has 8 neurons, got 9"),
    ],
)
def test_refusals(pair, apart, message):
    with pytest.raises(ValueError, match=message):
        merging.merge_partially(*pair, NETWORK.spec, apart)
    with pytest.raises(ValueError, match="cannot get 3 neurons"):
        merging.widen(pair[0], NETWORK.spec, {"hidden_0": 3})


def test_scores_of_the_user_decide(pair):
    scores = np.arange(8.0)[::-1]
    wide = merging.merge_partially(
        *jax.tree.map(np.float32, pair),
        NETWORK.spec,
        {"hidden_0": 1},
        disagreement={"hidden_0": scores},
    )
    kernel = np.asarray(wide["dense_0"]["kernel"])[:, 7]
    np.testing.assert_array_equal(
        kernel, np.float32(pair[0]["dense_0"]["kernel"])[:, 0]
    )
