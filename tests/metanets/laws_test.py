"""What ScaleGMN is invariant and equivariant to, and what not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry, zoo
from tests.alignment import pairs
from tests.metanets import cases

NOT_INVARIANT = ("sign_ablated", "permutation_of_sign")


def orbit_member(network, params, group):
    """Return `g . params` for a random element that permutes and flips or scales."""
    key, sizes = jax.random.key(7), network.spec.sizes(params)
    element = {}
    for i, space in enumerate(s for s in network.spec.spaces if s.name[:6] == "hidden"):
        size = sizes[space.name]
        keys = jax.random.split(jax.random.fold_in(key, i), 2)
        scale = {
            "sign": jnp.where(jnp.arange(size) % 2 == 0, -1.0, 1.0),
            "scale": jnp.exp(5 * jax.random.normal(keys[0], (size,))),
            "permutation": jnp.ones(size),
        }[group]
        element[space.name] = symmetry.Monomial(
            jax.random.permutation(keys[1], size), scale
        )
    return element, symmetry.act(element, params, network.spec)


def deviation(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))


@pytest.mark.parametrize(
    "name", cases.some("sign_inr", "scale_gated", without=NOT_INVARIANT)
)
@pytest.mark.slow
def test_latent_is_invariant_and_node_features_are_equivariant(name):
    num_layers = 2 if name in ("sign_inr", "scale_gated") else 1
    network, encoder, params = cases.make(name, num_layers=num_layers)
    params = jax.tree.map(lambda x: x[0], params)
    group = cases.group_of(encoder)
    element, moved = orbit_member(network, params, group)
    variables = cases.make_variables(encoder, cases.graph_of(encoder, params))

    @jax.jit
    def apply(graph):
        return encoder.apply(variables, graph), encoder.apply(
            variables, graph, method="node_features"
        )

    graph, moved_graph = cases.graph_of(encoder, params), cases.graph_of(encoder, moved)
    # float32, log-scales of standard deviation 5 for "scale".
    latent, features = apply(graph)
    moved_latent, moved_features = apply(moved_graph)
    assert deviation(latent, moved_latent) < 5e-6
    for space, where in zip(
        encoder.topology.spaces, encoder.topology.node_slices, strict=True
    ):
        x, y = features[where], moved_features[where]
        if space.role == "hidden":
            g = element[space.name]
            x = g.scale[:, None] * x[g.perm]
        size = jnp.linalg.norm(x, axis=-1, keepdims=True)
        np.testing.assert_allclose(x / size, y / size, atol=2e-5)


@pytest.mark.parametrize("name", NOT_INVARIANT)
def test_encoders_without_the_sign_symmetry_notice_sign_flips(name):
    network, encoder, params = cases.make(name)
    params = jax.tree.map(lambda x: x[0], params)
    _, moved = orbit_member(network, params, "sign")
    variables = cases.make_variables(encoder, cases.graph_of(encoder, params))
    apply = jax.jit(encoder.apply)
    latent = apply(variables, cases.graph_of(encoder, params))
    assert deviation(latent, apply(variables, cases.graph_of(encoder, moved))) > 1e-3


@pytest.mark.slow
def test_dropout_keeps_the_sign_symmetry_and_is_off_by_default():
    network, encoder, params = cases.make("sign_inr", num_layers=1)
    params = jax.tree.map(lambda x: x[0], params)
    graph = cases.graph_of(encoder, params)
    flips = jnp.array([1.0, -1.0, -1.0, 1.0])
    element = {"hidden_0": symmetry.Monomial(jnp.arange(4), flips)}
    moved = cases.graph_of(encoder, symmetry.act(element, params, network.spec))
    variables = cases.make_variables(encoder, graph)
    apply = jax.jit(encoder.apply, static_argnames="deterministic")
    drop = {"deterministic": False, "rngs": {"dropout": jax.random.key(1)}}
    latent, dropped = apply(variables, graph), apply(variables, graph, **drop)
    assert deviation(latent, dropped) > 1e-2
    assert deviation(dropped, apply(variables, moved, **drop)) < 5e-6
    # Without dropout no key is asked for.
    no_dropout = dataclasses.replace(encoder, dropout=0.0)
    jax.eval_shape(lambda: no_dropout.apply(variables, graph, deterministic=False))


@pytest.mark.parametrize(
    ("options", "is_invariant"),
    [
        ({"input_scale": True}, True),
        ({"symmetry": "permutation"}, False),  # the test is not blind
    ],
)
@pytest.mark.slow
def test_real_orbit_of_an_inr_has_one_latent(data_dir, options, is_invariant):
    orbit = zoo.import_dws(data_dir / "mnist_inrs")
    assert len(orbit) == 32
    spec = networks.build(orbit.architecture).spec
    topology = graphs.topology(spec, jax.tree.map(lambda x: x[0], orbit.params))
    graph = graphs.params_to_graph(orbit.params, topology)
    if options.get("input_scale"):
        statistics = zoo.statistics(orbit)
        options = {"input_scale": metanets.input_scale(topology, statistics)}
    encoder = metanets.ScaleGMN(topology, width=16, num_layers=2, **options)
    variables = cases.make_variables(encoder, graph)
    z = jax.jit(encoder.apply)(variables, graph)
    spread = jnp.linalg.norm(z - z[:1], axis=-1) / jnp.linalg.norm(z[0])
    if is_invariant:
        assert spread.max() < 5e-6
    else:
        assert spread.max() > 1e-4  # twenty times the bound of the invariant ones


def linear_results(encoder, variables, params):
    """Return latents and node features of networks."""

    @jax.jit
    def run(graph):
        features = encoder.apply(variables, graph, method="node_features")
        return encoder.apply(variables, graph), features

    return run(cases.graph_of(encoder, params, jnp.float64))


def assert_linear_law(
    name, *, is_invariant=True, change=lambda params: params, **options
):
    with jax.enable_x64(True):
        network, encoder, params, variables = cases.make_linear(name, **options)
        params = change(params)
        params = jax.device_get(params)
        sizes, random = network.spec.sizes(params), np.random.default_rng(1)
        element = pairs.draw_element(network.spec, sizes, random, scale_std=3.0)
        both = jax.tree.map(
            lambda *x: jnp.stack(x), params, symmetry.act(element, params, network.spec)
        )
        latents, features = linear_results(encoder, variables, both)
        assert latents.dtype == jnp.float64
        if not is_invariant:
            assert np.abs(latents[1] - latents[0]).max() > 1e-3
            return
        np.testing.assert_allclose(latents[1], latents[0], rtol=1e-11, atol=1e-12)
        topology = encoder.topology
        for space, where in zip(topology.spaces, topology.node_slices, strict=True):
            x, y = features[:, where]
            if space.role == "hidden":
                perm, scale = element[space.name]
                x = scale[:, None] * x[perm]
            np.testing.assert_allclose(y, x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "bidirectional"),
    [*((name, True) for name in cases.LINEAR), ("sine", False), ("relu_cnn", False)],
)
@pytest.mark.slow
def test_linear_messages_keep_the_law_in_float64(name, bidirectional):
    assert_linear_law(name, bidirectional=bidirectional)


def test_linear_messages_keep_the_law_with_neurons_that_read_nothing():
    def without_row(params):
        kernel = params["conv_1"]["kernel"].at[..., 0].set(0)
        conv = {"kernel": kernel, "bias": params["conv_1"]["bias"].at[0].set(0)}
        return {**params, "conv_1": conv}

    assert_linear_law("relu_cnn", change=without_row)


def test_linear_messages_keep_the_law_at_the_outputs():
    assert_linear_law("sine", readout="last_layer")


def test_linear_messages_of_permutations_notice_signs():
    assert_linear_law("sine", symmetry="permutation", is_invariant=False)
