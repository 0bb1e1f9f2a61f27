"""What Neural Graphs know of a network before the first layer.

Biases and weights, standardised over a population, become random Fourier features
`[cos(2 pi B v), sin(2 pi B v)]` with a fixed Gaussian matrix `B`, then pass two affine
maps; neurons get a learned vector per type (Kofinas et al. 2024, arXiv 2403.12143,
section 3.1).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params, Path


class InputMoments(NamedTuple):
    """Means and standard deviations of the raw features, hashable.

    Attributes:
      nodes: one pair per space, for its biases.
      edges: one pair per block, for its weights.
    """

    nodes: tuple[tuple[float, float], ...]
    edges: tuple[tuple[float, float], ...]


def input_moments(
    topology: graphs.Topology, statistics: Mapping[Path, tuple[float, float]]
) -> InputMoments:
    """Return mean and standard deviation of each tensor over a population.

    Args:
      topology: nodes and edges of the architecture.
      statistics: mean and standard deviation of every tensor, as `zoo.statistics`
        measures them.

    Returns:
      The moments; (0, 1) for spaces without a bias, deviation 1 for constant tensors.
    """

    def moments(path: Path | None) -> tuple[float, float]:
        mean, std = (0.0, 1.0) if path is None else statistics[path]
        return float(mean), float(std) or 1.0

    return InputMoments(
        tuple(moments(space.bias) for space in topology.spaces),
        tuple(moments(block.path) for block in topology.blocks),
    )


def standardised(
    topology: graphs.Topology, moments: InputMoments | None, nodes: Array, edges: Array
) -> tuple[list[Array], list[Array]]:
    """Return nodes `[N, n, 1]` per space and edges `[N, S * T, F]` per block.

    Args:
      topology: nodes and edges.
      moments: what they are standardised by; None to leave them.
      nodes: raw features `[N, V, 1]`.
      edges: raw features `[N, E, F]`.

    Raises:
      ValueError: if the moments do not fit the topology.
    """
    by_space = [nodes[:, where] for where in topology.node_slices]
    by_block = [edges[:, where] for where in topology.edge_slices]
    if moments is None:
        return by_space, by_block
    _check_moments(moments, topology)
    return _standardise(moments.nodes, by_space), _standardise(moments.edges, by_block)


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
    moments: InputMoments | None,
    nodes: Array,
    edges: Array,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return node and edge features.

    Args:
      frequencies: from `init_frequencies`.
      params: from `init_projections`.
      topology: nodes and edges.
      moments: what raw features are standardised by; None to leave them.
      nodes: raw features `[N, V, 1]`.
      edges: raw features `[N, E, F]`.

    Returns:
      Nodes `[N, n, D]` per space, and edges `[N, S, T, D]` per block.

    Raises:
      ValueError: if the moments do not fit the topology.
    """
    nodes_by_space, edges_by_block = standardised(topology, moments, nodes, edges)
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
            len(x), topology.spaces[b.source].size, topology.spaces[b.target].size, -1
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


def _standardise(moments, arrays):
    return [(x - mean) / std for (mean, std), x in zip(moments, arrays, strict=True)]


def _check_moments(moments: InputMoments, topology: graphs.Topology) -> None:
    expected = (len(topology.spaces), len(topology.blocks))
    if (len(moments.nodes), len(moments.edges)) != expected:
        raise ValueError(
            f"input_moments has {len(moments.nodes)} node and {len(moments.edges)} edge"
            f" entries, the topology {expected[0]} spaces and {expected[1]} blocks."
        )
    if min(std for _, std in (*moments.nodes, *moments.edges)) <= 0:
        raise ValueError(f"input_moments has a deviation that is not > 0: {moments}.")
