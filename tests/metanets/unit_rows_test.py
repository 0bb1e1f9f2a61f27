"""Convolutional classifiers under large scales, signs and dead neurons."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry
from symmerge_jax.metanets import _affine, _inputs
from tests.metanets import cases

ZOO_ENCODER = {"io": "mlp", "edge_embedding": False, "skip": False, "dropout": 0.0}


def make(network, **options):
    topology = graphs.topology(
        network.spec, jax.eval_shape(network.init, jax.random.key(0))
    )
    options = ZOO_ENCODER | {"width": 6, "num_layers": 2} | options
    return metanets.ScaleGMN(topology, **options)


def graph_of(encoder, params):
    return graphs.params_to_graph(params, encoder.topology, input_value=0.0)


def twins_of(params, spec, *scale_stds):
    """Return a network followed by five twins for every size of scales."""
    twins = [
        symmetry.sample_orbit(jax.random.key(i), params, spec, 5, scale_std=std)
        for i, std in enumerate(scale_stds)
    ]
    return jax.tree.map(lambda x, *y: jnp.concatenate([x[None], *y]), params, *twins)


def spread(latents):
    latents = np.asarray(latents, np.float64)
    distance = np.linalg.norm(latents - latents[:1], axis=-1)
    return distance.max() / np.linalg.norm(latents[0])


def read_zoo_network(data_dir):
    """Return the real network of the Small CNN Zoo: biases before kernels."""
    flat = np.load(data_dir / "cnn_zoo" / "one_network_weights.npy")
    params, start = {}, 0
    kernels = [(3, 3, 1, 16), (3, 3, 16, 16), (3, 3, 16, 16), (16, 10)]
    names = ["conv_0", "conv_1", "conv_2", "dense"]
    for name, shape in zip(names, kernels, strict=True):
        params[name] = {}
        for key, size in (("bias", shape[-1:]), ("kernel", shape)):
            stop = start + int(np.prod(size))
            params[name][key] = jnp.asarray(flat[start:stop].reshape(size))
            start = stop
    assert start == flat.size
    return params


@pytest.mark.parametrize(
    "activation", ["relu", pytest.param("tanh", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_twins_of_zoo_networks_have_one_latent(activation, data_dir):
    network = networks.cnn((32, 32, 1), activation=activation)
    encoder = make(network)
    fresh = network.init(jax.random.key(1))  # with biases of zero
    dead = jax.tree.map(lambda x: x, fresh)
    dead["conv_1"]["kernel"] = fresh["conv_1"]["kernel"].at[..., :3].set(0)
    variables = cases.make_variables(encoder, graph_of(encoder, fresh))
    encode = jax.jit(lambda p: encoder.apply(variables, graph_of(encoder, p)))
    latents = []
    for params in (fresh, dead, read_zoo_network(data_dir)):
        latents.append(encode(twins_of(params, network.spec, 0.5, 2.0, 5.0, 10.0)))
        assert spread(latents[-1]) < 5e-6
    fresh_latent, _, real_latent = (z[0] for z in latents)
    assert spread([fresh_latent, real_latent]) > 1e-3


@pytest.mark.slow
def test_twins_have_one_latent_where_products_are_rounded(monkeypatch):
    """TF32, the default of matrix products on a GPU, keeps 10 bits of the mantissa."""
    exact = _affine.matmul

    def rounded(x, weight):
        if not isinstance(x, jax.Array):
            return exact(x, weight)
        x, weight = (jax.lax.reduce_precision(a, 8, 10) for a in (x, weight))
        return exact(x, weight)

    monkeypatch.setattr(_affine, "matmul", rounded)
    network = networks.mlp((2, 4, 3, 2), "relu")
    encoder = make(network)
    params = network.init(jax.random.key(1))
    variables = cases.make_variables(encoder, graph_of(encoder, params))
    twins = graph_of(encoder, twins_of(params, network.spec, 1.0))
    assert spread(jax.jit(encoder.apply)(variables, twins)) < 1e-5
    raw = dataclasses.replace(encoder, unit_rows=False)
    assert spread(jax.jit(raw.apply)(variables, twins)) > 1e-4


@pytest.mark.slow
def test_no_value_and_no_gradient_changes():
    network = networks.mlp((2, 4, 3, 2), "relu")
    with jax.enable_x64(True):
        encoder = make(network, num_layers=1)
        params = jax.tree.map(
            lambda x: x.astype(jnp.float64) + 0.1, network.init(jax.random.key(1))
        )
        graph = graph_of(encoder, params)
        variables = cases.make_variables(encoder, graph, jnp.float64)

        def results(model):
            def loss(nodes, edges):
                g = graph._replace(nodes=nodes, edges=edges)
                features = model.apply(variables, g, method="node_features")
                return jnp.sum(jnp.sin(model.apply(variables, g))), features

            run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
            return run(graph.nodes, graph.edges)

        ours = results(encoder)
        raw = results(dataclasses.replace(encoder, unit_rows=False))
    # Rounding of float64.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), ours, raw)


@pytest.mark.slow
def test_every_row_of_a_stream_that_is_written_twice_has_norm_one():
    """Only weights from earlier spaces count: later ones are not yet rescaled."""
    axis = symmetry.Axis
    spec = symmetry.SymmetrySpec.create(
        {
            "stem": (axis("in", -1), axis("sum")),
            "read": (axis("sum", -1), axis("inner")),
            "write": (axis("inner", -1), axis("sum")),
            "bias": (axis("sum"),),
            "head": (axis("sum", -1), axis("out")),
        },
        [
            symmetry.Space("in", symmetry.Group.TRIVIAL),
            symmetry.Space("sum", symmetry.Group.SCALE),
            symmetry.Space("inner", symmetry.Group.SCALE),
            symmetry.Space("out", symmetry.Group.TRIVIAL),
        ],
    )
    shapes = {"stem": (2, 3), "read": (3, 4), "write": (4, 3), "head": (3, 2)}
    random = np.random.default_rng(0)
    params = {name: random.normal(size=n) for name, n in shapes.items()}
    params = jax.tree.map(jnp.asarray, params | {"bias": random.normal(size=3)})
    topology = graphs.topology(spec, params)
    twins = symmetry.sample_orbit(jax.random.key(0), params, spec, 2, permute=False)
    graph = graphs.params_to_graph(twins, topology)
    nodes, edges, scales = _inputs.unit_rows(topology, graph.nodes, graph.edges)
    np.testing.assert_allclose(nodes[0], nodes[1], rtol=1e-5)
    np.testing.assert_allclose(edges[0], edges[1], rtol=1e-4)
    moved = graphs.graph_to_params(graph._replace(nodes=nodes, edges=edges), topology)
    rows = jnp.concatenate([moved["stem"], moved["bias"][:, None]], axis=1)
    np.testing.assert_allclose(jnp.sum(rows**2, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(moved["read"] ** 2, axis=1), 1, rtol=1e-5)
    element = {
        name: symmetry.Monomial(jnp.arange(size), scales[0, where])
        for (name, size), where in zip(
            spec.sizes(params).items(), topology.node_slices, strict=True
        )
        if name in ("sum", "inner")
    }
    one = jax.tree.map(lambda x: x[0], twins)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[0], rtol=1e-5),
        symmetry.act(element, one, spec),
        moved,
    )
