"""What Neural Graphs know of a network before the first layer.

Biases and weights, standardised over a population, become random Fourier features
`[cos(2 pi B v), sin(2 pi B v)]` with a fixed Gaussian matrix `B`, then pass two affine
maps; neurons get a learned vector per type (Kofinas et al. 2024, arXiv 2403.12143,
section 3.1).
"""

import math

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine, _inputs
from symmerge_jax.typing import Array, Key, Params


def init_frequencies(
    key: Key, topology: graphs.Topology, num_frequencies: int, scale: float
) -> Params:
    """Return the fixed matrices `B`, `[K, 1]` for nodes and `[K, F]` for edges."""
    keys = jax.random.split(key)
    sizes = {"nodes": 1, "edges": topology.num_edge_features}
    return {
        name: scale * jax.random.normal(k, (num_frequencies, size), jnp.float32)
        for k, (name, size) in zip(keys, sizes.items(), strict=True)
    }


def init_projections(
    key: Key,
    topology: graphs.Topology,
    num_frequencies: int,
    node_size: int,
    edge_size: int,
    init_affine=_affine.init_affine,
) -> Params:
    """Return the affine maps `node_0`, `node_1`, `edge_0`, `edge_1`, and `node_pe`."""
    keys = jax.random.split(key, 5)
    features = 2 * num_frequencies
    shape = (topology.num_node_types, node_size)
    return {
        "node_0": init_affine(keys[0], features, node_size),
        "node_1": init_affine(keys[1], node_size, node_size),
        "edge_0": init_affine(keys[2], features, edge_size),
        "edge_1": init_affine(keys[3], edge_size, edge_size),
        "node_pe": jax.random.normal(keys[4], shape, jnp.float32),
    }


def embed(
    frequencies: Params,
    params: Params,
    topology: graphs.Topology,
    moments: _inputs.InputMoments | None,
    nodes: Array,
    edges: Array,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return nodes `[N, n, D]` per space, and edges `[N, S, T, D]` per block.

    From raw features `[N, V, 1]` and `[N, E, F]`, standardised by the moments, if any.
    """
    nodes_by_space, edges_by_block = _inputs.standardised(
        topology, moments, nodes, edges
    )
    # No nonlinearity between the two maps: one product per edge instead of two.
    to_node = _affine.compose(params["node_0"], params["node_1"])
    to_edge = _affine.compose(params["edge_0"], params["edge_1"])
    types = [topology.node_types[where] for where in topology.node_slices]
    embedded_nodes = tuple(
        _affine.affine(to_node, _waves(frequencies["nodes"], x))
        + params["node_pe"][kind][None]
        for x, kind in zip(nodes_by_space, types, strict=True)
    )
    embedded_edges = tuple(
        _affine.affine(to_edge, _waves(frequencies["edges"], x)).reshape(
            len(x), *topology.block_shape(b), -1
        )
        for b, x in zip(topology.blocks, edges_by_block, strict=True)
    )
    return embedded_nodes, embedded_edges


def embed_no_edge(params: Params) -> Array:
    """Return the edge feature `[D]` of a weight that is zero."""
    waves = jnp.concatenate(
        [jnp.ones(n := params["edge_0"]["w"].shape[0] // 2), jnp.zeros(n)]
    )
    return _affine.affine(_affine.compose(params["edge_0"], params["edge_1"]), waves)


def _waves(frequencies: Array, x: Array) -> Array:
    """Return the features `[*rows, 2 K]` of values `[*rows, F]`."""
    phases = 2 * math.pi * (x @ jax.lax.stop_gradient(frequencies).T)
    return jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=-1)
