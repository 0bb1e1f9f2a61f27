"""Parameters to `jraph.GraphsTuple` and back, exactly."""

import math
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
    edges = []
    for block in topology.blocks:
        leaf = _to_block(leaves[block.path], block, topology, len(batch))
        edges.append(_pad(leaf, block, topology))
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
        features = _unpad(edges[..., where, :], block, topology)
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
    size = math.prod(block.kernel_shape)
    leaf = leaf.reshape(*batch, block.repeat, source, target, size)
    leaf = jnp.moveaxis(leaf, rank, -2)
    return leaf.reshape(*batch, source * target, block.num_features)


def _from_block(
    features: Array, block: _topology.EdgeBlock, topology: _topology.Topology
) -> Array:
    batch = features.shape[:-2]
    source = topology.spaces[block.source].size
    target = topology.spaces[block.target].size
    kernel = block.kernel_shape
    rank = len(batch)
    leaf = features.reshape(*batch, source, target, block.repeat, *kernel)
    leaf = jnp.moveaxis(leaf, rank + 2, rank)
    leaf = leaf.reshape(*batch, block.repeat * source, target, *kernel)
    return jnp.moveaxis(
        leaf, (rank, rank + 1), (rank + block.source_axis, rank + block.target_axis)
    )


def _pad(
    features: Array, block: _topology.EdgeBlock, topology: _topology.Topology
) -> Array:
    """Return `[*N, E, num_features]` padded with zeros to `[*N, E, F]`."""
    edges = features.shape[:-1]
    if (kernel := _kernel_on_grid(block, topology)) is not None:
        before = [
            (big - n) // 2 for big, n in zip(topology.kernel_grid, kernel, strict=True)
        ]
        after = [
            big - n - free
            for big, n, free in zip(topology.kernel_grid, kernel, before, strict=True)
        ]
        width = [(0, 0)] * len(edges) + list(zip(before, after, strict=True))
        features = jnp.pad(features.reshape(*edges, *kernel), width)
        features = features.reshape(*edges, math.prod(topology.kernel_grid))
    free = topology.num_edge_features - features.shape[-1]
    return jnp.pad(features, [(0, 0)] * len(edges) + [(0, free)])


def _unpad(
    features: Array, block: _topology.EdgeBlock, topology: _topology.Topology
) -> Array:
    """Return `[*N, E, F]` without the zeros of `_pad`."""
    edges = features.shape[:-1]
    if (kernel := _kernel_on_grid(block, topology)) is None:
        return features[..., : block.num_features]
    grid = topology.kernel_grid
    features = features[..., : math.prod(grid)].reshape(*edges, *grid)
    middle = (
        slice((big - n) // 2, (big - n) // 2 + n)
        for big, n in zip(grid, kernel, strict=True)
    )
    return features[(..., *middle)].reshape(*edges, block.num_features)


def _kernel_on_grid(
    block: _topology.EdgeBlock, topology: _topology.Topology
) -> tuple[int, ...] | None:
    """Return the kernel's lengths along the axes of the grid; None if it is not there.

    Behind a flattened image the weights are features from the first on: their positions
    are those of the image, not of a kernel.
    """
    kernel = block.kernel_shape
    if block.repeat > 1 or not (kernel or topology.linear_as_conv):
        return None
    return (1,) * (len(topology.kernel_grid) - len(kernel)) + kernel


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
