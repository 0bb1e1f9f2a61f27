"""Both ends of ScaleGMN: features before the first layer, the latent after the last.

The raw features (a bias; the numbers of one weight) are mapped linearly without a bias,
then combined with a learned vector per *type* of node or edge. On features that a group
acts on the vector is multiplied, which commutes with the action; on features that are
only permuted it may be added (Kalogeropoulos et al. 2024, arXiv 2406.10685, appendix).
"""

from collections.abc import Sequence

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
    """Return the node features `[N, n, D]` of every space, from nodes `[N, V, 1]`.

    The vectors of hidden neurons are multiplied where `multiply` says so, else added,
    as those of input and output neurons always are.
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
    """Return the edge features of every block, from edges `[N, E, F]`.

    The vectors are multiplied where `multiply` says so, else added.
    """
    embedded = []
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        size = topology.block_shape(block)
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
    num_inputs, num_outputs = (
        topology.mask("input").sum(),
        topology.mask("output").sum(),
    )
    if which == "last_layer":
        return {"out": mlp(keys[0], int(num_outputs) * width, width, latent_size)}
    params = {"phi": mlp(keys[0], width, width, width)}
    size = width
    if feature_map is not None:
        size = width * int(1 + num_inputs + num_outputs)
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
    neurons, and `out(sum_i phi(x_i))` over all neurons in the permutation-only model
    (`feature_map` None); "last_layer" is `out(outputs)`. Nodes are `[N, n, D]` per
    space; for `switch` see `message_passing`.
    """

    def of_role(role: str) -> list[Array]:
        spaces = zip(topology.spaces, nodes, strict=True)
        return [x for space, x in spaces if space.role == role]

    outputs = [x.reshape(len(x), -1) for x in of_role("output")]
    if which == "last_layer":
        parts = outputs
    elif feature_map is None:
        parts = [_pool(_equivariant.IDENTITY, params, nodes, None)]
    else:
        pooled = jnp.zeros_like(nodes[0][:, 0])
        if hidden := of_role("hidden"):
            pooled = _pool(feature_map, params, hidden, switch)
        inputs = [x.reshape(len(x), -1) for x in of_role("input")]
        parts = [pooled, *inputs, *outputs]
    return _equivariant.mlp(params["out"], jnp.concatenate(parts, axis=-1))


def _pool(
    feature_map: _equivariant.FeatureMap,
    params: Params,
    nodes: Sequence[Array],
    switch: Array | None,
) -> Array:
    """Return the sum over all given nodes of `phi(c(x))`."""
    x = jnp.concatenate(nodes, axis=1)
    return jnp.sum(_equivariant.invariant(feature_map, params, x, switch), axis=1)
