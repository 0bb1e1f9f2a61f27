"""Parameters to `jraph.GraphsTuple` and back, exactly."""

from typing import Any

import jax.numpy as jnp
import jraph
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.graphs import _topology
from symmerge_jax.typing import Array, Params


def params_to_graph(
    params: Params, topology: _topology.Topology, *, input_value: float = 1.0
) -> jraph.GraphsTuple:
    """Return the weight graph of a network, or of a batch of networks.

    Args:
      params: parameters; leading axes `[*N]` shared by all leaves are kept.
      topology: from `topology(spec, params)`.
      input_value: node feature of input neurons (1 for INRs, 0 for CNNs in the
        published configurations); others without a bias have the feature 0.

    Returns:
      Graph with nodes `[*N, V, 1]` (biases) and edges `[*N, E, F]` (weights; kernels
      flattened row by row and padded with zeros to the largest, symmetrically, the odd
      entry at the end; a dense weight is feature 0). Senders `[E]` and receivers `[E]`
      are the static arrays of the topology, shared by the batch.

    Raises:
      ValueError: if a parameter is missing or has another shape than the topology.
    """
    leaves = symmetry.flatten(params)
    batch = _check(leaves, topology)
    nodes = [
        jnp.full((*batch, space.size), input_value if space.role == "input" else 0.0)
        if space.bias is None
        else leaves[space.bias]
        for space in topology.spaces
    ]
    edges = []
    for block in topology.blocks:
        leaf = _to_block(leaves[block.path], block, topology, len(batch))
        width = [(0, 0)] * len(batch) + [(0, 0), _padding(block, topology)]
        edges.append(jnp.pad(leaf, width))
    fields: dict[str, Any] = dict(
        nodes=jnp.concatenate(nodes, axis=-1)[..., None],
        edges=jnp.concatenate(edges, axis=-2),
        senders=topology.senders,
        receivers=topology.receivers,
        n_node=np.array([topology.num_nodes], np.int32),
        n_edge=np.array([topology.num_edges], np.int32),
        globals=None,
    )
    return jraph.GraphsTuple(**fields)


def graph_to_params(graph: jraph.GraphsTuple, topology: _topology.Topology) -> Params:
    """Return the parameters of a weight graph: the exact inverse of `params_to_graph`.

    Args:
      graph: nodes `[*N, V, 1]` and edges `[*N, E, F]`.
      topology: the topology that the graph was made with.

    Returns:
      Parameters with the batch axes of the graph.

    Raises:
      ValueError: if the graph has other numbers of nodes, edges or features.
    """
    nodes: Any = graph.nodes
    edges: Any = graph.edges
    expected = (
        (topology.num_nodes, 1),
        (topology.num_edges, topology.num_edge_features),
    )
    if (nodes.shape[-2:], edges.shape[-2:]) != expected:
        raise ValueError(
            f"Graph has nodes {nodes.shape[-2:]} and edges {edges.shape[-2:]}, the"
            f" topology {expected[0]} and {expected[1]}."
        )
    leaves = {}
    for space, where in zip(topology.spaces, topology.node_slices, strict=True):
        if space.bias is not None:
            leaves[space.bias] = nodes[..., where, 0]
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        before, _ = _padding(block, topology)
        features = edges[..., where, before : before + block.num_features]
        leaves[block.path] = _from_block(features, block, topology)
    return symmetry.unflatten(leaves)


def _to_block(
    leaf: Array, block: _topology.EdgeBlock, topology: _topology.Topology, rank: int
) -> Array:
    """Return a weight tensor as edges `[*N, sources * targets, num_features]`."""
    batch = leaf.shape[:rank]
    source = topology.spaces[block.source].size
    target = topology.spaces[block.target].size
    leaf = jnp.moveaxis(
        leaf, (rank + block.source_axis, rank + block.target_axis), (rank, rank + 1)
    )
    repeat = leaf.shape[rank] // source
    leaf = leaf.reshape(*batch, repeat, source, target, block.num_features // repeat)
    leaf = jnp.moveaxis(leaf, rank, -2)
    return leaf.reshape(*batch, source * target, block.num_features)


def _from_block(
    features: Array, block: _topology.EdgeBlock, topology: _topology.Topology
) -> Array:
    batch = features.shape[:-2]
    source = topology.spaces[block.source].size
    target = topology.spaces[block.target].size
    repeat = block.shape[block.source_axis] // source
    ends = (block.source_axis, block.target_axis)
    others = [n for i, n in enumerate(block.shape) if i not in ends]
    rank = len(batch)
    leaf = features.reshape(*batch, source, target, repeat, *others)
    leaf = jnp.moveaxis(leaf, rank + 2, rank)
    leaf = leaf.reshape(*batch, repeat * source, target, *others)
    return jnp.moveaxis(
        leaf, (rank, rank + 1), (rank + block.source_axis, rank + block.target_axis)
    )


def _padding(
    block: _topology.EdgeBlock, topology: _topology.Topology
) -> tuple[int, int]:
    """Return zeros before and after the features of a block.

    A dense weight stays feature 0; flattened kernels are centred.
    """
    free = topology.num_edge_features - block.num_features
    before = 0 if len(block.shape) == 2 else free // 2
    return before, free - before


def _check(leaves, topology: _topology.Topology) -> tuple[int, ...]:
    expected = {b.path: b.shape for b in topology.blocks}
    expected |= {s.bias: (s.size,) for s in topology.spaces if s.bias is not None}
    if set(leaves) != set(expected):
        show = lambda paths: sorted("/".join(p) for p in paths)  # noqa: E731
        raise ValueError(
            "Parameters do not fit the topology: missing"
            f" {show(expected.keys() - leaves.keys())}, unknown"
            f" {show(leaves.keys() - expected.keys())}."
        )
    path = topology.blocks[0].path
    rank = leaves[path].ndim - len(expected[path])
    batch = tuple(leaves[path].shape[:rank])
    for path, shape in expected.items():
        if tuple(leaves[path].shape) != (*batch, *shape):
            raise ValueError(
                f"Parameter '{'/'.join(path)}' has shape {tuple(leaves[path].shape)},"
                f" the topology expects {(*batch, *shape)}."
            )
    return batch
