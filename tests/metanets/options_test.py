import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, symmetry
from tests.metanets import cases


@pytest.mark.slow
def test_input_options_replace_and_scale_the_raw_features():
    _, encoder, params = cases.make("sign_inr", num_layers=1)
    graph = cases.graph_of(encoder, params)
    variables = cases.make_variables(encoder, graph)
    statistics = {
        path: (float(leaf.mean()), float(leaf.std()))
        for path, leaf in symmetry.flatten(params).items()
    }
    scale = metanets.input_scale(encoder.topology, statistics)
    scaled = dataclasses.replace(encoder, input_scale=scale)
    params_scaled = graphs.graph_to_params(graph, encoder.topology)
    for i, block in enumerate(encoder.topology.blocks):
        bias = encoder.topology.spaces[block.target].bias
        for path, factor in (
            (block.path, scale.edges[i]),
            (bias, scale.nodes[block.target]),
        ):
            leaf = params_scaled[path[0]][path[1]] * factor
            assert abs(float(jnp.mean(leaf**2)) - 1) < 1e-5
            params_scaled[path[0]][path[1]] = leaf
    apply = jax.jit(encoder.apply)
    np.testing.assert_allclose(
        jax.jit(scaled.apply)(variables, graph),
        apply(variables, cases.graph_of(encoder, params_scaled)),
        atol=1e-6,
    )
    zero_input = dataclasses.replace(encoder, input_value=0.0)
    other = graphs.params_to_graph(params, encoder.topology, input_value=0.0)
    np.testing.assert_allclose(
        jax.jit(zero_input.apply)(variables, graph), apply(variables, other), atol=1e-6
    )


def test_tensors_of_zeros_and_missing_biases_are_not_scaled():
    _, encoder, params = cases.make("sign_inr")
    statistics = dict.fromkeys(symmetry.flatten(params), (0.0, 0.0))
    statistics["dense_1", "kernel"] = (3.0, 4.0)
    statistics["dense_0", "bias"] = (-0.5, 0.0)
    scale = metanets.input_scale(encoder.topology, statistics)
    assert scale == ((1.0, 2.0, 1.0, 1.0), (1.0, 0.2, 1.0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scale_gated", {"bidirectional": True}, "reciprocal of every weight"),
        ("scale_gated", {"ablate_symmetry": True}, "needs symmetry='sign'"),
        ("scale_gated", {"symmetry": "sign"}, "not a symmetry of this archi"),
        ("sign_inr", {"io": "gate"}, "io must be one of"),
        ("sign_inr", {"num_io_mlps": 3}, "num_io_mlps must be one of"),
        ("sign_inr", {"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ("sign_inr", {"num_layers": 0}, "num_layers must be >= 1"),
        ("sign_inr", {"latent_size": 0}, "latent_size must be >= 1"),
        (
            "sign_inr",
            {"input_scale": metanets.InputScale((1.0,), (1.0,))},
            "input_scale has 1 node and 1 edge",
        ),
        (
            "sign_inr",
            {"input_scale": metanets.InputScale((1.0,) * 4, (1.0, 0.0, 1.0))},
            "input_scale must be positive",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    _, encoder, params = cases.make(name, **options)
    graph = cases.graph_of(encoder, params)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(encoder.init, jax.random.key(0), graph)


def test_a_graph_of_another_architecture_is_refused(key):
    _, encoder, params = cases.make("sign_inr")
    graph = cases.graph_of(encoder, params)
    with pytest.raises(ValueError, match="another architecture"):
        encoder.init(key, graph._replace(edges=graph.edges[:, 1:]))
    with pytest.raises(ValueError, match="batch axes"):
        encoder.init(key, graph._replace(edges=graph.edges[:2]))
