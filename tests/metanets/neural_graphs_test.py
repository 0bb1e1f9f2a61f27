"""The laws of Neural Graphs: permutations, norms, gradients, dropout, options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry
from tests.metanets import cases

SMALL_CNN = networks.cnn((32, 32, 1), (16, 16, 16), 10, "relu")
ENCODERS = {
    "pna": metanets.NeuralGraphs,
    "attention": metanets.RelationalTransformer,
}
moments = metanets.InputMoments
SMALL = {"width": 8, "num_layers": 2, "num_frequencies": 5}


def make(name, network, params, **options):
    """Return an encoder of a network, its graph, and filled variables."""
    topology = graphs.topology(
        network.spec,
        jax.eval_shape(network.init, jax.random.key(0)),
        linear_as_conv=True,
    )
    encoder = ENCODERS[name](topology, **(SMALL | options))
    graph = graphs.params_to_graph(params, topology)
    dtype = jax.tree.leaves(params)[0].dtype
    return encoder, graph, cases.make_variables(encoder, graph, dtype)


def random_params(network, num, seed=0):
    """Return `num` networks with normal weights and biases."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda x: jnp.asarray(generator.normal(size=(num, *x.shape)), x.dtype), shapes
    )


def deviation(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


NETWORKS = {
    "inr": networks.siren((2, 4, 3, 1)),
    "cnn": networks.cnn((8, 8, 1), (3, 2), 3, "tanh"),
}


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.slow
def test_permutations_change_nothing_and_signs_do(name, architecture):
    network = NETWORKS[architecture]
    with jax.enable_x64(True):
        params = random_params(network, 2)
        encoder, graph, variables = make(name, network, params)

        @jax.jit
        def apply(variables, graph):
            nodes = encoder.apply(variables, graph, method="node_features")
            return encoder.apply(variables, graph), nodes

        latents, nodes = apply(variables, graph)
        assert nodes.shape == (2, encoder.topology.num_nodes, SMALL["width"])

        def moved_by(scale):
            sizes = network.spec.sizes(jax.tree.map(lambda x: x[0], params))
            element = {
                space.name: symmetry.Monomial(
                    jnp.arange(n := sizes[space.name])[::-1], scale * jnp.ones(n)
                )
                for space in network.spec.spaces
                if space.group is not symmetry.Group.TRIVIAL
            }
            moved = jax.vmap(lambda p: symmetry.act(element, p, network.spec))(params)
            return apply(variables, graphs.params_to_graph(moved, encoder.topology))

        moved_latents, moved_nodes = moved_by(1.0)
        assert deviation(latents, moved_latents) < 1e-10
        for space, where in zip(
            encoder.topology.spaces, encoder.topology.node_slices, strict=True
        ):
            hidden = space.role == "hidden"
            expected = nodes[:, where][:, :: -1 if hidden else 1]
            assert deviation(expected, moved_nodes[:, where]) < 1e-10
            if hidden:
                assert deviation(expected, nodes[:, where]) > 1e-3
        assert deviation(latents, moved_by(-1.0)[0]) > 1e-3


@pytest.mark.parametrize("norm", ["graph", "node", "batch"])
@pytest.mark.slow
def test_only_the_published_norm_looks_at_other_networks(norm):
    network = NETWORKS["inr"]
    with jax.enable_x64(True):
        params = random_params(network, 3)
        encoder, _, variables = make("pna", network, params, norm=norm)
        graph = lambda p: graphs.params_to_graph(p, encoder.topology)  # noqa: E731
        apply = jax.jit(encoder.apply)
        together = apply(variables, graph(params))[:1]
        alone = apply(variables, graph(jax.tree.map(lambda x: x[:1], params)))
    assert (deviation(together, alone) > 1e-3) == (norm == "batch")
    if norm != "batch":
        assert deviation(together, alone) < 1e-12


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.slow
def test_gradients_are_finite_and_leave_the_frequencies_alone(name):
    network = NETWORKS["inr"]
    # All weights equal: no variance of messages, no variance of features.
    params = jax.tree.map(jnp.zeros_like, random_params(network, 1))
    encoder, graph, variables = make(name, network, params, remat=True)
    loss_fn = lambda v: jnp.sum(encoder.apply(v, graph) ** 2)  # noqa: E731
    gradients = jax.jit(jax.grad(loss_fn))(variables)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradients))
    assert not any(x.any() for x in jax.tree.leaves(gradients["constants"]))
    assert any(x.any() for x in jax.tree.leaves(gradients["params"]))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.slow
def test_dropout_wants_a_key_and_a_latent_size_a_map(name):
    network = NETWORKS["inr"]
    params = random_params(network, 2)
    options = {"dropout": 0.5, "latent_size": 7}
    encoder, graph, variables = make(name, network, params, **options)

    @jax.jit
    def both(variables, key):
        apply = functools.partial(encoder.apply, variables, graph)
        return apply(), apply(deterministic=False, rngs={"dropout": key})

    plain, dropped = both(variables, jax.random.key(1))
    assert plain.shape == (2, 7)
    assert deviation(plain, dropped) > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pna", {"norm": "layer"}, "norm must be one of"),
        ("pna", {"num_frequencies": 0}, "num_frequencies must be >= 1"),
        ("pna", {"frequency_scale": 0.0}, "frequency_scale must be positive"),
        ("attention", {"num_heads": 3}, "num_heads=3"),
        ("attention", {"width": 9}, "width=9 must be even"),
        (
            "pna",
            {"input_moments": metanets.InputMoments(((0, 1),), ())},
            "1 node and 0",
        ),
        (
            "pna",
            {"input_moments": metanets.InputMoments(((0, 0),) * 4, ((0, 1),) * 3)},
            "not > 0",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    network = NETWORKS["inr"]
    params = random_params(network, 1)
    with pytest.raises(ValueError, match=message):
        make(name, network, params, **options)
