import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, testing


def test_residual_mlp_is_the_formula(key):
    network = networks.residual_mlp((3, 6, 2), 5, num_blocks=2, activation="relu")
    params = testing.random_params(key, network)
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    stream = x @ params["stem"]["kernel"] + params["stem"]["bias"][None]
    for block in ("block_0", "block_1"):
        read = params[block]["read"]
        hidden = jax.nn.relu(stream @ read["kernel"] + read["bias"][None])
        stream = stream + hidden @ params[block]["write"]["kernel"]
    y = stream @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(network.apply(params, x), y, rtol=1e-5)
    features = network.features(params, x)
    np.testing.assert_allclose(features["stream"], stream, rtol=1e-5)
    np.testing.assert_allclose(features["hidden_1"], hidden, rtol=1e-5, atol=1e-6)


def test_symmetry_keeps_the_function(key):
    network = networks.residual_mlp((3, 6, 2), 5, num_blocks=2)
    params = testing.random_params(key, network)
    x = jax.random.normal(key, (8, 3))
    testing.assert_invariant(
        key, lambda p: network.apply(p, x), params, network.spec, atol=1e-4
    )


def test_features_move_with_their_space(key):
    network = networks.mlp((3, 6, 4, 2), "tanh")
    params = testing.random_params(key, network)
    x = jax.random.normal(key, (8, 3))
    assert set(network.features(params, x)) == {"hidden_0", "hidden_1"}
    flipped = jax.tree.map(jnp.asarray, params)
    for part in ("kernel", "bias"):
        flipped["dense_0"][part] = flipped["dense_0"][part][..., ::-1]
    flipped["dense_1"]["kernel"] = flipped["dense_1"]["kernel"][::-1]
    before, after = network.features(params, x), network.features(flipped, x)
    np.testing.assert_array_equal(before["hidden_0"][:, ::-1], after["hidden_0"])
    np.testing.assert_allclose(before["hidden_1"], after["hidden_1"], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3, 2), 5), "input, stream and output"),
        (((3, 4, 2), 0), "each >= 1"),
        (((3, 4, 2), 5, 1, "step"), "Unknown activation 'step'"),
    ],
)
def test_refuses_what_is_no_residual_mlp(arguments, message):
    with pytest.raises(ValueError, match=message):
        networks.residual_mlp(*arguments)
