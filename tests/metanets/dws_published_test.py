"""Layers of Deep-Align: their number of parameters, and their maps one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks
from symmerge_jax.metanets import _dws_layers, _dws_published
from tests.metanets import cases


def make_topology(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return graphs.topology(network.spec, shapes)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_numbers_of_parameters():
    """That in the notebook of AvivNavon/deep-align, for its MNIST classifiers."""
    published, of_the_similarities, unread = 31_873_905, 1, 12_789_656
    network = networks.mlp((784, 128, 128, 128, 10), "relu")
    topology = make_topology(network)
    encoder = metanets.DeepWeightSpace(topology, faithful=True)

    def init(key):
        graph = graphs.params_to_graph(network.init(key), topology)
        return encoder.init(key, graph, method="node_features")

    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    assert count(shapes) == published - of_the_similarities - unread == 19_084_248
    tensors = _dws_layers.weight_tensors(topology)
    everything = tuple(range(len(tensors)))
    options = _dws_published.Options(tensors, everything, 8, 1, "max")

    def init_last(key):
        sizes = (64,) * len(tensors)
        return _dws_published.init_layer(key, options, sizes, 128, last=True)

    last = jax.eval_shape(init_last, jax.random.key(0))
    assert set(shapes["layer_4"]) < set(last)
    assert count(last) - count(shapes["layer_4"]) == unread


def affine(params, x):
    return x @ params["w"] + params["b"]


def attention(params, x, num_heads=2):
    q, k, v = np.split(affine(params["qkv"], x), 3, axis=1)
    columns = np.split(np.arange(q.shape[1]), num_heads)
    h = np.zeros_like(q)
    for c in columns:
        scores = np.exp(q[:, c] @ k[:, c].T / np.sqrt(q.shape[1]))
        h[:, c] = q[:, c] + scores / scores.sum(axis=1, keepdims=True) @ v[:, c]
    return h + np.maximum(affine(params["out"], h), 0)


def along_inputs(params, x):
    """Return `x` `[n, I, C]` after a map of sets, channel by channel."""
    columns = []
    for rows in np.moveaxis(x, -1, 0):
        weights = np.exp(rows @ params["query"])
        mean = weights / weights.sum() @ rows
        columns.append(affine(params["own"], rows) - mean @ params["common"])
    return np.stack(columns, axis=-1)


@pytest.mark.slow
def test_every_map_of_a_layer():
    n0, n1, n2, n3, few, size, new_size = 3, 4, 5, 2, 2, 3, 4
    topology = make_topology(networks.mlp((n0, n1, n2, n3), "relu"))
    tensors = _dws_layers.weight_tensors(topology)
    everything = tuple(range(6))
    options = _dws_published.Options(tensors, everything, few, 2, "max")
    generator = np.random.default_rng(0)
    fill = lambda shape: jnp.asarray(generator.normal(size=shape))  # noqa: E731
    with jax.enable_x64(True):
        shapes = jax.eval_shape(
            lambda key: _dws_published.init_layer(
                key, options, (size,) * 6, new_size, last=True
            ),
            jax.random.key(0),
        )
        params = jax.tree.map(lambda x: 0.5 * fill(x.shape), shapes)
        axes = [(n1, n0), (n1, n2, 1), (n2, n3), (n1, 1), (n2, 1), (n3,)]
        values = tuple(fill((1, *a, size)) for a in axes)
        found = jax.jit(lambda p, v: _dws_published.layer(p, v, options=options))(
            params, values
        )
    p = jax.tree.map(np.asarray, params)
    w0, w1, w2, b1, b2, b3 = (np.asarray(x)[0] for x in values)
    w1, b1, b2 = w1[:, :, 0], b1[:, 0], b2[:, 0]
    a = lambda s, t, x: attention(p[f"{s}_to_{t}"], x.reshape(len(x), -1))  # noqa: E731
    shrunk = along_inputs(p["shrink_0"], w0)
    rows, columns = w1.max(axis=1), w1.max(axis=0)
    new_w0 = a(0, 0, shrunk) + a(1, 0, rows) + a(3, 0, b1)
    new_w1 = sum(
        affine(p["1_to_1"][name], x)
        for name, x in (
            ("0", w1),
            ("1", columns[None]),
            ("2", rows[:, None]),
            ("3", w1.max(axis=(0, 1))),
        )
    )
    new_w1 = new_w1 / 4 + (a(0, 1, shrunk) + a(3, 1, b1))[:, None]
    new_w1 = new_w1 + a(2, 1, w2) + a(4, 1, b2)
    new_w2 = a(2, 2, w2) + a(4, 2, b2) + affine(p["5_to_2"]["0"], b3.ravel())
    new_w2 = new_w2.reshape(n2, n3, -1) + a(1, 2, columns)[:, None]
    new_b1 = a(3, 3, b1) + a(0, 3, shrunk.max(axis=1)) + a(1, 3, rows)
    new_b2 = a(4, 4, b2) + a(1, 4, columns) + a(2, 4, w2.max(axis=1))
    new_b3 = affine(p["5_to_5"]["0"], b3.ravel()).reshape(n3, -1)
    new_b3 = new_b3 + a(2, 5, w2.max(axis=0))
    new_w0 = along_inputs(p["expand_0"], new_w0.reshape(n1, few, -1) / 6)
    new_w0 = new_w0 + affine(p["skip_0"], w0)
    expected = (new_w0, new_w1 / 6, new_w2 / 6, new_b1 / 6, new_b2 / 6, new_b3 / 6)
    assert len(p) == 1 + 1 + 1 + 7 + 5 + 8  # of inputs, then W-W, b-W and to b
    for x, y in zip(found, expected, strict=True):
        y = y.reshape(x.shape[1:])
        np.testing.assert_allclose(np.asarray(x)[0], y, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_norm_sees_one_network():
    network = networks.mlp((3, 4, 2), "relu")
    topology = make_topology(network)
    encoder = metanets.DeepWeightSpace(
        topology, width=4, num_layers=2, faithful=True, num_heads=2
    )
    one_by_one = encoder.clone(remat=True)
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    draw = lambda x: generator.normal(size=(2, *x.shape)).astype(x.dtype)  # noqa: E731
    to_graph = lambda p: graphs.params_to_graph(p, topology)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    variables = cases.make_variables(encoder, to_graph(params))

    @jax.jit
    def run(params):
        def loss(variables):
            latents = encoder.apply(variables, to_graph(params))
            return jnp.sum(latents**2), latents

        gradients, latents = jax.grad(loss, has_aux=True)(variables)
        return gradients, latents, one_by_one.apply(variables, to_graph(params))

    gradients, latents, same_latents = jax.device_get(run(params))
    np.testing.assert_allclose(same_latents, latents, rtol=0, atol=1e-5)
    # Constant weights: no variance of channels.
    others = jax.tree.map(lambda x: np.stack([x[0], np.ones_like(x[1])]), params)
    other_gradients, other_latents, _ = jax.device_get(run(others))
    np.testing.assert_allclose(latents[0], other_latents[0], rtol=0, atol=1e-5)
    assert np.abs(latents[0] - latents[1]).max() > 1e-3
    for tree in (gradients, other_gradients):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "attention"}, r"pool must be one of \('mean', 'max'\)"),
        ({"num_heads": 3}, "multiple of num_heads=3"),
        ({"num_heads": 0}, "num_heads must be >= 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    network = networks.mlp((3, 4, 4, 2), "relu")
    topology = make_topology(network)
    encoder = metanets.DeepWeightSpace(topology, width=4, faithful=True, **options)
    params = jax.eval_shape(network.init, jax.random.key(0))
    graph = lambda p: graphs.params_to_graph(p, topology)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda p: encoder.init(jax.random.key(0), graph(p)), params)
