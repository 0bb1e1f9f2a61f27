"""Both ends of ScaleGMN: features before the first layer, the latent after the last.

The raw features (a bias; the numbers of one weight) are mapped linearly without a bias,
then combined with a learned vector per *type* of node or edge. On features that a group
acts on the vector is multiplied, which commutes with the action; on features that are
only permuted it may be added (Kalogeropoulos et al. 2024, arXiv 2406.10685, appendix).
"""

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine, _equivariant
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
        "node_in": _affine.init_linear(keys[0], (1, width), 1),
        "edge_in": _affine.init_linear(keys[1], (num_features, width), num_features),
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
) -> tuple[_affine.RawEdges, ...]:
    """Return the edge features of every block, in factored form.

    Args:
      params: from `init_embedding`.
      topology: nodes and edges.
      edges: `[N, E, F]`.
      multiply: whether the vectors are multiplied (else added).

    Returns:
      One `_affine.RawEdges` of width `D` per block.
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
        embedded.append(_affine.RawEdges(features, weight, offset))
    return tuple(embedded)


def _shared(types: np.ndarray) -> np.ndarray:
    """Return `types` `[S, T]` with length 1 where they do not depend on an axis."""
    if (types == types[:1]).all():
        types = types[:1]
    if (types == types[:, :1]).all():
        types = types[:, :1]
    return types


def init_readout(
    key: Key,
    topology: graphs.Topology,
    feature_map: _equivariant.FeatureMap | None,
    width: int,
    latent_size: int,
    *,
    which: str,
) -> Params:
    """Return `out` and, for "full_graph", `phi` and `rho` of the hidden neurons."""
    keys = jax.random.split(key, 3)
    mlp = _equivariant.init_mlp
    counts = _counts(topology)
    if which == "last_layer":
        return {"out": mlp(keys[0], counts["output"] * width, width, latent_size)}
    params = {"phi": mlp(keys[0], width, width, width)}
    size = width
    if feature_map is not None:
        size = width * (1 + counts["input"] + counts["output"])
        if feature_map.has_rho:
            params["rho"] = mlp(keys[1], width, width, width)
        if feature_map.mixed:
            params["phi_scale"] = mlp(jax.random.fold_in(key, 3), width, width, width)
    params["out"] = mlp(keys[2], size, width, latent_size)
    return params


def readout(
    params: Params,
    topology: graphs.Topology,
    feature_map: _equivariant.FeatureMap | None,
    nodes: tuple[Array, ...],
    switch: Array | None = None,
    *,
    which: str,
) -> Array:
    """Return the latents `[N, latent_size]`.

    "full_graph" is `out([sum_i phi(c(x_i)), inputs, outputs])` with the sum over hidden
    neurons, and `out(sum_i phi(x_i))` over all neurons in the permutation-only model;
    "last_layer" is `out(outputs)`.

    Args:
      params: from `init_readout`.
      topology: the spaces.
      feature_map: `c`; None for the permutation-only model.
      nodes: `[N, n, D]` per space.
      switch: `[N]` bool, which networks have scales; for mixed batches only.
      which: the readout.
    """
    of_role = {"input": [], "hidden": [], "output": []}
    for space, x in zip(topology.spaces, nodes, strict=True):
        of_role[space.role].append(x)
    flat = {
        role: [x.reshape(len(x), -1) for x in of_role[role]]
        for role in ("input", "output")
    }
    if which == "last_layer":
        parts = flat["output"]
    elif feature_map is None:
        parts = [_pool(_equivariant.IDENTITY, params, nodes, None)]
    else:
        if of_role["hidden"]:
            pooled = _pool(feature_map, params, of_role["hidden"], switch)
        else:
            pooled = jnp.zeros_like(nodes[0][:, 0])
        parts = [pooled, *flat["input"], *flat["output"]]
    return _equivariant.mlp(params["out"], jnp.concatenate(parts, axis=-1))


def _pool(feature_map, params, nodes, switch):
    """Return the sum over all given nodes of `phi(c(x))`."""
    x = jnp.concatenate(nodes, axis=1)
    return jnp.sum(_equivariant.invariant(feature_map, params, x, switch), axis=1)


def _counts(topology: graphs.Topology) -> dict[str, int]:
    counts = {"input": 0, "hidden": 0, "output": 0}
    for space in topology.spaces:
        counts[space.role] += space.size
    return counts
