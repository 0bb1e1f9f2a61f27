"""Node and edge features before the first layer.

The raw features (a bias; the numbers of one weight) are mapped linearly without a bias,
then combined with a learned vector per *type* of node or edge. On features that a group
acts on the vector is multiplied, which commutes with the action; on features that are
only permuted it may be added (Kalogeropoulos et al. 2024, arXiv 2406.10685, appendix).
"""

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.metanets import _equivariant, _linear
from symmerge_jax.typing import Array, Key, Params


def init_embedding(
    key: Key,
    topology: graphs.Topology,
    width: int,
    *,
    node_embedding: bool,
    edge_embedding: bool,
) -> Params:
    """Return `node_in` `[1, D]`, `edge_in` `[F, D]` and, where asked for, the vectors
    `node_pe` `[node types, D]` and `edge_pe` `[edge types, D]` (standard normal)."""
    keys = jax.random.split(key, 4)
    num_features = topology.num_edge_features
    params = {
        "node_in": _equivariant.init_linear(keys[0], (1, width), 1),
        "edge_in": _equivariant.init_linear(
            keys[1], (num_features, width), num_features
        ),
    }
    if node_embedding:
        shape = (topology.num_node_types, width)
        params["node_pe"] = jax.random.normal(keys[2], shape, jnp.float32)
    if edge_embedding:
        shape = (topology.num_edge_types, width)
        params["edge_pe"] = jax.random.normal(keys[3], shape, jnp.float32)
    return params


def embed_nodes(
    params: Params, topology: graphs.Topology, nodes: Array, *, multiply: bool
) -> tuple[Array, ...]:
    """Return the node features of every space.

    Args:
      params: from `init_embedding`.
      topology: nodes and edges.
      nodes: `[N, V, 1]`.
      multiply: whether the vectors of hidden neurons are multiplied (else added); those
        of input and output neurons are always added.

    Returns:
      One `[N, n, D]` per space.
    """
    embedded = []
    for space, where in zip(topology.spaces, topology.node_slices, strict=True):
        x = nodes[:, where] * params["node_in"][None]
        if "node_pe" in params:
            vector = params["node_pe"][topology.node_types[where]][None]
            product = multiply and space.role == "hidden"
            x = x * vector if product else x + vector
        embedded.append(x)
    return tuple(embedded)


def embed_edges(
    params: Params, topology: graphs.Topology, edges: Array, *, multiply: bool
) -> tuple[_linear.RawEdges, ...]:
    """Return the edge features of every block, in factored form.

    Args:
      params: from `init_embedding`.
      topology: nodes and edges.
      edges: `[N, E, F]`.
      multiply: whether the vectors are multiplied (else added).

    Returns:
      One `_linear.RawEdges` of width `D` per block.
    """
    embedded = []
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        size = (topology.spaces[block.source].size, topology.spaces[block.target].size)
        features = edges[:, where].reshape(len(edges), *size, edges.shape[-1])
        weight, offset = params["edge_in"][None, None], None
        if "edge_pe" in params:
            vector = params["edge_pe"][
                _shared(topology.edge_types[where].reshape(size))
            ]
            if multiply:
                weight = weight * vector[:, :, None]
            else:
                offset = vector
        embedded.append(_linear.RawEdges(features, weight, offset))
    return tuple(embedded)


def _shared(types: np.ndarray) -> np.ndarray:
    """Return `types` `[S, T]` with length 1 where they do not depend on an axis."""
    if (types == types[:1]).all():
        types = types[:1]
    if (types == types[:, :1]).all():
        types = types[:, :1]
    return types
