import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import metanets
from tests.metanets import cases, flat_edges, golden_test


def flat(encoder, variables, graph):
    one = lambda n, e: flat_edges.encode(  # noqa: E731
        encoder, cases.group_of(encoder), variables, n, e
    )
    return jax.vmap(one)(graph.nodes, graph.edges)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name in cases.CONFIGS if name not in ("sign_ablated", "permutation")],
)
def test_values_and_gradients_are_those_of_flat_edges(name):
    with jax.enable_x64(True):
        _, encoder, params = cases.make(name, num_layers=1)
        graph = cases.graph_of(encoder, params, jnp.float64)
        variables = cases.make_variables(encoder, graph, jnp.float64)

        def results(f):
            def loss(variables, nodes, edges):
                z = f(variables, graph._replace(nodes=nodes, edges=edges))
                return jnp.sum(jnp.sin(z + jnp.arange(z.shape[-1])[None])), z

            both = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
            return both(variables, graph.nodes, graph.edges)

        gradients, ours = results(encoder.apply)
        expected, theirs = results(lambda v, g: flat(encoder, v, g))
    # Rounding of float64 through a few hundred sums.
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    for a, b in zip(*map(jax.tree.leaves, (gradients, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_several_layers_are_those_of_flat_edges():
    with jax.enable_x64(True):
        _, encoder, params = cases.make("sign_bidirectional", num_layers=2)
        graph = cases.graph_of(encoder, params, jnp.float64)
        variables = cases.make_variables(encoder, graph, jnp.float64)
        ours = jax.jit(encoder.apply)(variables, graph)
        theirs = jax.jit(lambda v: flat(encoder, v, graph))(variables)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["sign_absolute", "scale_gated"])
@pytest.mark.slow
def test_gradients_are_finite_where_biases_and_weights_are_zero(name):
    _, encoder, params = cases.make(name, num_layers=1)
    zeros = jax.tree.map(jnp.zeros_like, params)
    graph = cases.graph_of(encoder, zeros)
    variables = cases.make_variables(encoder, graph)

    def loss(variables, nodes, edges):
        graph_ = graph._replace(nodes=nodes, edges=edges)
        return jnp.sum(encoder.apply(variables, graph_) ** 2)

    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(
        variables, graph.nodes, graph.edges
    )
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(grads))


@pytest.mark.slow
def test_batch_axes_are_those_of_vmap_and_of_single_networks():
    _, encoder, params = cases.make("sign_inr", num_layers=1)
    graph = cases.graph_of(encoder, params)
    variables = cases.make_variables(encoder, graph)

    @jax.jit
    def one(nodes, edges):
        return encoder.apply(variables, graph._replace(nodes=nodes, edges=edges))

    batch = one(graph.nodes, graph.edges)
    vmapped = jax.jit(jax.vmap(one))(graph.nodes, graph.edges)
    np.testing.assert_allclose(vmapped, batch, atol=1e-5)
    single = one(graph.nodes[1], graph.edges[1])
    np.testing.assert_allclose(single, batch[1], atol=1e-5)
    assert jax.eval_shape(one, graph.nodes[None], graph.edges[None]).shape == (1, 3, 6)


@pytest.mark.slow
def test_remat_changes_no_value_and_no_gradient():
    _, encoder, params = cases.make("scale_gated", num_layers=1)
    graph = cases.graph_of(encoder, params)
    variables = cases.make_variables(encoder, graph)
    results = []
    for remat in (False, True):
        model = dataclasses.replace(encoder, remat=remat)
        loss = lambda v, m=model: jnp.sum(m.apply(v, graph) ** 2)  # noqa: E731
        results.append(jax.jit(jax.value_and_grad(loss))(variables))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_latent_size_is_free():
    _, encoder, params = cases.make("scale_gated", latent_size=9)
    graph = cases.graph_of(encoder, params)
    variables = cases.make_variables(encoder, graph)
    assert jax.eval_shape(encoder.apply, variables, graph).shape == (3, 9)


@pytest.mark.parametrize(
    ("layout", "features", "options", "expected"),
    [
        # Section 2.5 of the spec; dead MLPs of the published readout left out.
        ((2, 32, 32, 1), 1, dict(group="sign"), 1_936_256 - 33_280),
        ((2, 32, 32, 1), 1, dict(group="permutation"), 728_960),
        (
            (1, 16, 16, 16, 10),
            9,
            dict(group="scale", width=256, io="mlp", edge_embedding=False, skip=False),
            5_861_376 - 132_096,
        ),
        (
            (1, 16, 16, 16, 10),
            9,
            dict(
                group="sign",
                width=256,
                io="mlp",
                num_io_mlps=2,
                edge_embedding=False,
                skip=False,
            ),
            9_290_752 - 132_096,
        ),
    ],
)
def test_published_configurations_have_the_published_number_of_parameters(
    layout, features, options, expected
):
    case = {
        "layout": layout,
        "edge_features": features,
        "symmetry": options["group"],
        "input_value": 0.0,
    }
    topology = golden_test.make_topology(case)
    options = {k: v for k, v in options.items() if k != "group"}
    encoder = metanets.ScaleGMN(topology, **options)
    graph = golden_test.make_graph(case, topology)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), graph)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected
