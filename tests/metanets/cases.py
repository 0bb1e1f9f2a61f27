"""Encoders that reach every branch of ScaleGMN, with graphs and parameters for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks

# Options that are enough to reach every branch; `group` says which networks they read.
CONFIGS = {
    "sign_inr": dict(group="sign"),
    "sign_absolute": dict(group="sign", symmetrize=False, skip=False),
    "sign_ablated": dict(group="sign", ablate_symmetry=True),
    "sign_separate": dict(group="sign", io="mlp", num_io_mlps=2, edge_embedding=False),
    "sign_gated_separate_mean": dict(group="sign", num_io_mlps=2, aggregator="mean"),
    "sign_last_layer": dict(group="sign", readout="last_layer", node_embedding=False),
    "sign_bidirectional": dict(group="sign", bidirectional=True, io="mlp"),
    "scale_cnn": dict(group="scale", io="mlp", edge_embedding=False, skip=False),
    "scale_gated": dict(group="scale"),
    "permutation": dict(group="permutation"),
    "permutation_bidirectional": dict(
        group="permutation", bidirectional=True, skip=False, edge_embedding=False
    ),
    "permutation_of_sign": dict(group="sign", symmetry="permutation"),
}

ACTIVATIONS = {"sign": "tanh", "scale": "relu", "permutation": "gelu"}


def make(name, **options):
    """Return a network, its encoder of width 6, and a graph of 3 random members."""
    options = CONFIGS[name] | options
    network = networks.mlp((2, 4, 3, 2), ACTIVATIONS[options.pop("group")])
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    topology = graphs.topology(network.spec, shapes)
    random = np.random.default_rng(5)
    params = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=(3, *x.shape)), jnp.float32), shapes
    )
    encoder = metanets.ScaleGMN(
        topology, **({"width": 6, "num_layers": 2, "dropout": 0.5} | options)
    )
    return network, encoder, params


def some(*fast, without=()):
    """Return the names of all cases, those that are not `fast` marked as slow."""
    slow = [name for name in CONFIGS if name not in (*fast, *without)]
    return [*fast, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


def make_variables(encoder, graph, dtype=jnp.float32):
    """Return random parameters, biases and LayerNorms too, without compiling `init`."""
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), graph)
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        noise = generator.normal(size=leaf.shape)
        if path[-1].key == "ln_g":
            return jnp.asarray(1 + 0.1 * noise, dtype)
        fan_in = leaf.shape[0] if leaf.ndim == 2 else 4
        return jnp.asarray(noise / np.sqrt(fan_in), dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def graph_of(encoder, params, dtype=jnp.float32):
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    return graphs.params_to_graph(params, encoder.topology)


def group_of(encoder):
    (group,) = {s.group for s in encoder.topology.spaces if s.role == "hidden"}
    return encoder.symmetry or group.value


# Networks whose encoders have linear messages.
LINEAR = {
    "sine": networks.siren((2, 4, 3, 1)),
    "relu": networks.mlp((2, 4, 3, 2), "relu"),
    "gelu": networks.mlp((2, 4, 3, 2), "gelu"),
    "tanh_cnn": networks.cnn((8, 8, 1), channels=(3, 2), activation="tanh"),
    "relu_cnn": networks.cnn(
        (8, 8, 1), channels=(3, 2), kernel_size=2, readout="flatten"
    ),
}


def make_linear(name, **options):
    """Return a network, its encoder, parameters and variables, all random: float64."""
    network = LINEAR[name]
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape)),
        jax.eval_shape(network.init, jax.random.key(0)),
    )
    topology = graphs.topology(network.spec, params)
    options = {"width": 5, "num_layers": 2, "bidirectional": True} | options
    encoder = metanets.ScaleGMN(topology, messages="linear", dropout=0.0, **options)
    graph = graph_of(encoder, params, jnp.float64)
    return network, encoder, params, make_variables(encoder, graph, jnp.float64)
