"""Batches that mix networks with signs (tanh) and networks with scales (relu)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry
from tests.metanets import cases

SIZES = (2, 4, 3, 2)
IS_SCALED = jnp.array([1.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def setting():
    """Encoder of mixed batches, its parameters, three networks and their latents."""
    network = networks.mlp(SIZES, "tanh")
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    random = np.random.default_rng(3)
    params = jax.tree.map(
        lambda x: jnp.asarray(0.1 + 0.5 * random.normal(size=(3, *x.shape)), x.dtype),
        shapes,
    )
    topology = graphs.topology(network.spec, shapes)
    encoder = metanets.ScaleGMN(topology, width=6, num_layers=2, symmetry="hetero")
    variables = cases.make_variables(encoder, mixed(topology, params))
    return encoder, variables, params, jax.jit(encoder.apply)


def mixed(topology, params, is_scaled=IS_SCALED):
    return graphs.params_to_graph(params, topology)._replace(globals=is_scaled[:, None])


def without_block(params, name):
    """Return the parameters of an encoder of one group: "sign" or "scale"."""
    if not isinstance(params, dict):
        return params
    kept = {key: without_block(value, name) for key, value in params.items()}
    scaled = kept.pop("phi_scale", None)
    if name == "scale":
        kept.pop("rho", None)
        if scaled is not None:
            kept["phi"] = scaled
    return kept


@pytest.mark.slow
def test_each_network_has_the_latent_that_it_has_alone(setting):
    encoder, variables, params, encode = setting
    latents = encode(variables, mixed(encoder.topology, params))
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], params)
        alone = mixed(encoder.topology, one, IS_SCALED[i : i + 1])
        np.testing.assert_allclose(encode(variables, alone)[0], latents[i], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "activation", "which"), [("scale", "relu", [0, 2]), ("sign", "tanh", [1])]
)
def test_each_network_has_the_latent_of_its_block(setting, name, activation, which):
    """An encoder of one group, with the parameters of that block, gives the same."""
    encoder, variables, params, encode = setting
    spec = networks.mlp(SIZES, activation).spec
    topology = graphs.topology(spec, jax.tree.map(lambda x: x[0], params))
    plain = dataclasses.replace(encoder, topology=topology, symmetry=None)
    graph = graphs.params_to_graph(params, topology)
    expected = jax.jit(plain.apply)(without_block(variables, name), graph)
    latents = encode(variables, mixed(encoder.topology, params))
    for i in which:
        np.testing.assert_allclose(latents[i], expected[i], rtol=1e-4, atol=1e-5)


def test_twins_of_both_kinds_have_one_latent_in_one_batch(setting):
    encoder, variables, params, encode = setting
    twins = []
    for i, activation in enumerate(("relu", "tanh", "relu")):
        spec = networks.mlp(SIZES, activation).spec
        one = jax.tree.map(lambda x, i=i: x[i], params)
        sizes = spec.sizes(one)
        element = symmetry.sample(jax.random.key(i), spec, sizes, scale_std=5.0)
        twins.append(symmetry.act(element, one, spec))
    moved = jax.tree.map(lambda *x: jnp.stack(x), *twins)
    latents = encode(variables, mixed(encoder.topology, params))

    def deviation(is_scaled):
        z = encode(variables, mixed(encoder.topology, moved, is_scaled))
        return np.linalg.norm(z - latents, axis=1) / np.linalg.norm(latents, axis=1)

    assert deviation(IS_SCALED).max() < 5e-6
    assert deviation(1 - IS_SCALED).min() > 1e-3


@pytest.mark.slow
def test_gradients_are_finite_where_weights_are_zero_or_huge(setting):
    encoder, variables, params, _ = setting
    spec = networks.mlp(SIZES, "relu").spec
    scales = {"hidden_0": jnp.full(4, 1e12), "hidden_1": jnp.full(3, 1e-12)}
    element = {
        name: symmetry.Monomial(jnp.arange(scale.size), scale)
        for name, scale in scales.items()
    }
    huge = symmetry.act(element, jax.tree.map(lambda x: x[2], params), spec)
    zeros = jax.tree.map(jnp.zeros_like, huge)
    params = jax.tree.map(lambda *x: jnp.stack(x), zeros, zeros, huge)
    encoder = dataclasses.replace(encoder, num_layers=1)
    graph = mixed(encoder.topology, params)
    variables = cases.make_variables(encoder, graph)

    def loss(variables, nodes, edges):
        z = encoder.apply(variables, graph._replace(nodes=nodes, edges=edges))
        return jnp.sum(jnp.sin(z))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    for leaf in jax.tree.leaves(gradient(variables, graph.nodes, graph.edges)):
        assert bool(jnp.isfinite(leaf).all())


def test_the_switch_is_asked_for_and_asked_about(setting):
    encoder, variables, params, _ = setting
    graph = mixed(encoder.topology, params)
    for wrong in (None, IS_SCALED):
        with pytest.raises(ValueError, match=r"needs a switch \(3, 1\).*_replace"):
            jax.eval_shape(encoder.apply, variables, graph._replace(globals=wrong))
    plain = dataclasses.replace(encoder, symmetry="sign")
    with pytest.raises(ValueError, match="only an encoder with symmetry='hetero'"):
        jax.eval_shape(plain.init, jax.random.key(0), graph)
    backward = dataclasses.replace(encoder, bidirectional=True)
    with pytest.raises(ValueError, match="reciprocal of every weight"):
        jax.eval_shape(backward.init, jax.random.key(0), graph)


@pytest.mark.parametrize("asked", [None, "hetero"])
def test_spaces_of_different_groups_are_refused(setting, asked):
    encoder, _, params, _ = setting
    first, *spaces = encoder.topology.spaces
    spaces[0] = dataclasses.replace(spaces[0], group=symmetry.Group.SCALE)
    topology = dataclasses.replace(encoder.topology, spaces=(first, *spaces))
    with pytest.raises(ValueError, match="spec of either and symmetry='hetero'"):
        other = dataclasses.replace(encoder, topology=topology, symmetry=asked)
        jax.eval_shape(other.init, jax.random.key(0), mixed(topology, params))


def test_networks_with_neither_signs_nor_scales_are_no_mixed_zoo(setting, key):
    _, _, params, _ = setting
    spec = networks.mlp(SIZES, "gelu").spec
    topology = graphs.topology(spec, jax.tree.map(lambda x: x[0], params))
    encoder = metanets.ScaleGMN(topology, width=6, symmetry="hetero")
    with pytest.raises(ValueError, match="'hetero' is not a symmetry of this arch"):
        jax.eval_shape(encoder.init, key, mixed(topology, params))
