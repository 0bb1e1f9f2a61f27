import jax
import numpy as np
import pytest

from symmerge_jax import networks, symmetry, testing

Group = symmetry.Group
GROUPS = {
    "relu": Group.SCALE,
    "leaky_relu": Group.SCALE,
    "tanh": Group.SIGN,
    "sine": Group.SIGN,
    "gelu": Group.PERMUTATION,
    "silu": Group.PERMUTATION,
    "sigmoid": Group.PERMUTATION,
    "softplus": Group.PERMUTATION,
}


def test_every_activation_is_listed():
    assert set(networks.ACTIVATIONS) == set(GROUPS)


@pytest.mark.parametrize("activation", GROUPS)
def test_activation_has_the_symmetry_of_its_group(activation):
    function, group = networks.ACTIVATIONS[activation]
    z = np.linspace(-3, 3, 13, dtype=np.float32)
    odd = np.allclose(function(-z), -function(z), atol=1e-6)
    homogeneous = np.allclose(function(2 * z), 2 * function(z), atol=1e-6)
    assert group is GROUPS[activation]
    assert odd == (group is Group.SIGN)
    assert homogeneous == (group is Group.SCALE)
    spec = networks.mlp((2, 3, 1), activation).spec
    assert spec.space("hidden_0").group is group
    assert spec.space("hidden_0").frequency == (1.0 if activation == "sine" else None)


@pytest.mark.parametrize("layer_sizes", [(3, 2), (3, 5, 2), (3, 6, 5, 4, 2)])
def test_mlp_is_the_formula(key, layer_sizes):
    network = networks.mlp(layer_sizes, "tanh")
    params = testing.random_params(key, network)
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = x
    for i in range(len(layer_sizes) - 1):
        layer = params[f"dense_{i}"]
        expected = expected @ layer["kernel"] + layer["bias"][None]
        expected = np.tanh(expected) if i < len(layer_sizes) - 2 else expected
    np.testing.assert_allclose(network.apply(params, x), expected, atol=1e-6)
    assert network.activations == {
        f"hidden_{i}": "tanh" for i in range(len(layer_sizes) - 2)
    }


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("gelu", 1.0)])
def test_init_has_the_gain_of_the_activation(key, activation, gain):
    params = networks.mlp((100, 300, 2), activation).init(key)
    std = np.std(params["dense_0"]["kernel"])
    assert std == pytest.approx((gain / 100) ** 0.5, rel=0.03)
    assert not params["dense_0"]["bias"].any()


def test_apply_lifts_to_a_population(key):
    network = networks.mlp((3, 4, 2))
    population = jax.jit(jax.vmap(network.init))(jax.random.split(key, 3))
    x = np.ones((5, 3), np.float32)
    outputs = jax.jit(jax.vmap(network.apply, (0, None)))(population, x)
    one = jax.tree.map(lambda leaf: leaf[1], population)
    np.testing.assert_allclose(outputs[1], network.apply(one, x), rtol=1e-5)


def test_mlp_refuses_unknown_activations_and_sizes():
    with pytest.raises(ValueError, match=r"'swish'; known are \['gelu', 'leaky_relu'"):
        networks.mlp((2, 3, 1), "swish")
    with pytest.raises(ValueError, match=r"each >= 1, got \[2, -3, 1\]"):
        networks.mlp((2, -3, 1))


def test_mlp_without_bias_has_none_and_keeps_its_symmetry(key):
    network = networks.mlp((3, 5, 4, 2), "sine", use_bias=False)
    params = testing.random_params(key, network)
    assert all(set(layer) == {"kernel"} for layer in params.values())
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    kernels = [params[f"dense_{i}"]["kernel"] for i in range(3)]
    expected = np.sin(np.sin(x @ kernels[0]) @ kernels[1]) @ kernels[2]
    np.testing.assert_allclose(network.apply(params, x), expected, atol=1e-6)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    twin = symmetry.act(element, params, network.spec)
    np.testing.assert_allclose(network.apply(twin, x), expected, atol=1e-5)
    assert network.init(key).keys() == params.keys()
    assert network.spec.space("hidden_0").frequency is None
