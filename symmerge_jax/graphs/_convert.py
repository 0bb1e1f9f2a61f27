"""Parameters to `jraph.GraphsTuple` and back, exactly."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import jraph
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.graphs import _topology
from symmerge_jax.typing import Array, Params, Path


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
      Graph with nodes `[*N, V, 1]` (biases) and edges `[*N, E, F]` (weights). Kernels
      are padded with zeros in space to the largest height and width, the same before
      and behind, an odd row or column at the end, then flattened row by row. A dense
      weight is feature 0, or as `Topology.linear_as_conv` says; behind a flattened
      image the weights of all positions are the first features of one edge. Senders
      `[E]` and receivers `[E]` are the static arrays of the topology, shared by the
      batch.

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
    edges = [
        _to_edges(leaves[block.path], block, topology, len(batch))
        for block in topology.blocks
    ]
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
        leaves[block.path] = _from_edges(edges[..., where, :], block, topology)
    return symmetry.unflatten(leaves)


def _to_edges(
    leaf: Array, block: _topology.EdgeBlock, topology: _topology.Topology, rank: int
) -> Array:
    """Return a weight tensor as edges `[*N, S * T, F]`, padded with zeros."""
    batch, (source, target) = leaf.shape[:rank], topology.block_shape(block)
    ends = (rank + block.source_axis, rank + block.target_axis)
    leaf = jnp.moveaxis(leaf, ends, (rank, rank + 1))
    size = math.prod(block.kernel_shape)
    leaf = leaf.reshape(*batch, block.repeat, source, target, size)
    kernel, margins = _on_grid(block, topology)
    edges = jnp.moveaxis(leaf, rank, -2).reshape(*batch, source * target, *kernel)
    edges = jnp.pad(edges, [(0, 0)] * (rank + 1) + margins)
    size = math.prod(edges.shape[rank + 1 :])
    edges = edges.reshape(*batch, source * target, size)
    free = topology.num_edge_features - size
    return jnp.pad(edges, [(0, 0)] * (rank + 1) + [(0, free)])


def _from_edges(
    edges: Array, block: _topology.EdgeBlock, topology: _topology.Topology
) -> Array:
    """Return the weight tensor of edges: `_to_edges` undone."""
    *batch, num_edges, _ = edges.shape
    rank, (source, target) = len(batch), topology.block_shape(block)
    kernel, margins = _on_grid(block, topology)
    sizes = [a + n + b for n, (a, b) in zip(kernel, margins, strict=True)]
    edges = edges[..., : math.prod(sizes)].reshape(*batch, num_edges, *sizes)
    middle = (slice(a, a + n) for n, (a, _) in zip(kernel, margins, strict=True))
    leaf = edges[(..., *middle)] if kernel else edges
    leaf = leaf.reshape(*batch, source, target, block.repeat, *block.kernel_shape)
    leaf = jnp.moveaxis(leaf, rank + 2, rank)
    leaf = leaf.reshape(*batch, block.repeat * source, target, *block.kernel_shape)
    ends = (rank + block.source_axis, rank + block.target_axis)
    return jnp.moveaxis(leaf, (rank, rank + 1), ends)


def _on_grid(
    block: _topology.EdgeBlock, topology: _topology.Topology
) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Return lengths of the features' axes, and zeros before and behind on each.

    A kernel lies in the middle of the grid. Behind a flattened image the weights are
    features from the first on: their positions are those of the image.
    """
    kernel, grid = block.kernel_shape, topology.kernel_grid
    if block.repeat > 1 or not (kernel or topology.linear_as_conv):
        return (block.num_features,), [(0, 0)]
    kernel = (1,) * (len(grid) - len(kernel)) + kernel
    free = [big - n for big, n in zip(grid, kernel, strict=True)]
    return kernel, [(n // 2, n - n // 2) for n in free]


def _check(
    leaves: Mapping[Path, Array], topology: _topology.Topology
) -> tuple[int, ...]:
    """Return the batch axes of parameters that fit; refuse others."""
    expected = {b.path: b.shape for b in topology.blocks}
    expected |= {s.bias: (s.size,) for s in topology.spaces if s.bias is not None}
    if set(leaves) != set(expected):
        missing, unknown = (
            sorted(map(symmetry.name, paths))
            for paths in (
                expected.keys() - leaves.keys(),
                leaves.keys() - expected.keys(),
            )
        )
        raise ValueError(
            f"Parameters do not fit the topology: missing {missing}, unknown {unknown}."
        )
    path = topology.blocks[0].path
    rank = leaves[path].ndim - len(expected[path])
    batch = tuple(leaves[path].shape[:rank])
    for path, shape in expected.items():
        if tuple(leaves[path].shape) != (*batch, *shape):
            raise ValueError(
                f"Parameter '{symmetry.name(path)}' has shape"
                f" {tuple(leaves[path].shape)}, the topology expects"
                f" {(*batch, *shape)}."
            )
    return batch
