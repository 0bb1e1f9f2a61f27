"""Deep weight space layers: what commutes with permutations, and nothing less."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry
from tests.metanets import cases

NETWORKS = {
    "mlp": networks.mlp((3, 4, 5, 2), "gelu"),
    "cnn": networks.cnn((8, 8, 1), (3, 2), 3, "tanh"),
    "residual": networks.residual_mlp((3, 4, 2), 5),
}


def make(network, **options):
    """Return an encoder, two networks, their graph, and filled variables, float64."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    topology = graphs.topology(network.spec, shapes)
    encoder = metanets.DeepWeightSpace(
        topology, **({"width": 4, "num_layers": 2} | options)
    )
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(generator.normal(size=(2, *x.shape))), shapes
    )
    graph = graphs.params_to_graph(params, topology)
    dtype = jax.tree.leaves(params)[0].dtype
    return encoder, params, graph, cases.make_variables(encoder, graph, dtype)


FAITHFUL = {"faithful": True, "num_heads": 2, "max_fixed": 2}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("mlp", {"pool": "max"}),
        ("cnn", {"pool": "attention"}),
        ("residual", {"pool": "mean"}),
        ("mlp", FAITHFUL),
        ("cnn", FAITHFUL),
        ("residual", {"pool": "mean", **FAITHFUL}),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(x),
)
@pytest.mark.slow
def test_features_move_with_the_neurons_and_latents_stay(architecture, options):
    network = NETWORKS[architecture]
    with jax.enable_x64(True):
        encoder, params, graph, variables = make(network, **options)
        topology = encoder.topology

        @jax.jit
        def apply(graph):
            latents = encoder.apply(variables, graph)
            return latents, encoder.apply(variables, graph, method="node_features")

        sizes = network.spec.sizes(jax.tree.map(lambda x: x[0], params))
        element = {
            space.name: symmetry.Monomial(
                jnp.roll(jnp.arange(n := sizes[space.name]), 1), jnp.ones(n)
            )
            for space in network.spec.spaces
            if space.group is not symmetry.Group.TRIVIAL
        }
        moved = jax.vmap(lambda p: symmetry.act(element, p, network.spec))(params)
        (latents, nodes), (moved_latents, moved_nodes) = (
            [np.asarray(x) for x in apply(g)]
            for g in (graph, graphs.params_to_graph(moved, topology))
        )
    np.testing.assert_allclose(moved_latents, latents, rtol=0, atol=1e-12)
    assert nodes.shape == (2, topology.num_nodes, 8)
    for space, where in zip(topology.spaces, topology.node_slices, strict=True):
        hidden = space.role == "hidden"
        before = np.roll(nodes[:, where], 1, axis=1) if hidden else nodes[:, where]
        np.testing.assert_allclose(moved_nodes[:, where], before, rtol=0, atol=1e-12)
        assert hidden == bool(np.abs(before).max() > 1e-3)
        if hidden:  # and the neurons are told apart
            assert np.abs(before - before.mean(axis=1, keepdims=True)).max() > 1e-3


def test_a_layer_is_every_linear_map_that_commutes():
    """Neighbours of one interior weight tensor: dimensions of Navon et al. 2023."""
    network = networks.mlp((1, 4, 5, 1), "gelu")
    with jax.enable_x64(True):
        encoder, _, graph, variables = make(
            network, width=1, feature_size=1, num_layers=1, pool="mean"
        )
        layer = variables["params"]["layer_0"]
        kept = [name for name in layer if name.startswith("1_to_4")]
        assert sorted(kept) == ["1_to_4_keep_2", "1_to_4_keep_none"]
        weights = {name: 0.0 * layer[name]["w"] for name in layer if "_to_" in name}
        terms = [name for name in weights if name.split("_")[2] == "4"]
        for name in kept:
            only = weights | {name: jnp.ones((1, 1))}
            params = {
                n: v | ({"w": only[n]} if n in only else {"b": 0.0 * v["b"]})
                for n, v in layer.items()
            }
            found = encoder.apply(
                {"params": dict(variables["params"]) | {"layer_0": params}},
                graph,
                method="node_features",
            )
            where = encoder.topology.node_slices[2]
            kernel = np.asarray(graph.edges)[:, encoder.topology.edge_slices[1], 0]
            kernel = kernel.reshape(2, 4, 5)
            axes = (1, 2) if name.endswith("none") else 1
            expected = kernel.mean(axis=axes).reshape(2, -1) / len(terms)
            np.testing.assert_allclose(
                np.asarray(found)[:, where, 0],
                np.broadcast_to(expected, (2, 5)),
                rtol=1e-12,
            )


def test_pixels_do_not_blow_up_the_layers():
    sizes = []
    for inputs, max_fixed in itertools.product((20, 40), (8, 1000)):
        network = networks.mlp((inputs, 4, 4, 2), "relu")
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        topology = graphs.topology(network.spec, shapes)
        encoder = metanets.DeepWeightSpace(topology, width=4, max_fixed=max_fixed)

        def init(key, network=network, topology=topology, encoder=encoder):
            graph = graphs.params_to_graph(network.init(key), topology)
            return encoder.init(key, graph)

        variables = jax.eval_shape(init, jax.random.key(0))
        sizes.append(sum(x.size for x in jax.tree.leaves(variables)))
    small, _, large, huge = sizes
    assert large < 1.5 * small and huge > 5 * large


@pytest.mark.slow
def test_dropout_and_storage():
    network = NETWORKS["mlp"]
    encoder, _, graph, variables = make(network, dropout=0.5, remat=True, latent_size=3)
    apply = functools.partial(jax.jit(encoder.apply, static_argnames="deterministic"))
    plain = apply(variables, graph)
    assert plain.shape == (2, 3)
    rngs = {"dropout": jax.random.key(1)}
    dropped = apply(variables, graph, deterministic=False, rngs=rngs)
    assert np.abs(plain - dropped).max() > 1e-3


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match="pool must be one of"):
        make(NETWORKS["mlp"], pool="sum")
