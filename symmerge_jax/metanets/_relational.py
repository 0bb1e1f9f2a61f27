"""Attention between the two ends of every edge of the weight graph, block by block.

Neuron `i` attends to its neighbours `j` along the edges and against them, with the
feature `e_ij` of the edge in that direction (relational attention: Diao and Loynd 2023,
arXiv 2210.05062, as used in Neural Graphs, Kofinas et al. 2024, arXiv 2403.12143)

    q_ij = q(x_i) + q_e(e_ij),  k_ij = k(x_j) + k_e(e_ij),
    v_ij = v(x_j) * v_m(e_ij) + v_e(e_ij),  x_i <- LN(x_i + out(attention))
    x <- LN(x + MLP(x)),  e_ij <- LN(e_ij + MLP([e_ij, e_ji], x_i, x_j)), LN(e + MLP(e))
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params

Nodes = tuple[Array, ...]
Pairs = tuple[tuple[Array, Array], ...]


def init_relational(key: Key, width: int, *, last: bool) -> Params:
    """Return the parameters of one layer at node width `D`; the last keeps the edges.

    Queries, keys and values share one map `node` `[D, 3 A]`, and `edge` `[D_e, 4 A]`
    for those of edges, with `A = 2 D` and `D_e = D / 2`.
    """
    keys = iter(jax.random.split(key, 12))
    affine = _affine.init_xavier
    edge_width, attention = width // 2, 2 * width
    params: dict[str, Any] = {
        "node": affine(next(keys), width, 3 * attention),
        "edge": affine(next(keys), edge_width, 4 * attention),
        "out": affine(next(keys), attention, width),
        **_init_residuals("node", keys, width),
    }
    if not last:
        hidden = 2 * edge_width
        params |= {
            "pair_edge": affine(next(keys), 2 * edge_width, hidden),
            "pair_own": affine(next(keys), width, hidden),
            "pair_other": affine(next(keys), width, hidden),
            "pair_out": affine(next(keys), hidden, edge_width),
            **_init_residuals("edge", keys, edge_width),
        }
    return params


def _init_residuals(name: str, keys: Iterator[Key], size: int) -> Params:
    """Return what `_residuals` reads."""
    return {
        f"{name}_norm_0": _affine.init_norm(size),
        f"{name}_mlp_0": _affine.init_xavier(next(keys), size, 2 * size),
        f"{name}_mlp_1": _affine.init_xavier(next(keys), 2 * size, size),
        f"{name}_norm_1": _affine.init_norm(size),
    }


def relational(
    params: Params,
    nodes: Nodes,
    pairs: Pairs,
    *,
    topology: graphs.Topology,
    num_heads: int,
) -> tuple[Nodes, Pairs]:
    """Return the node and edge features after one layer; the last keeps the pairs.

    Nodes are `[N, n, D]` per space; pairs, per block, the features of its edges as the
    sources see them, `[N, S, T, D_e]`, and as the targets do, `[N, T, S, D_e]`.
    """
    attended = _attend(params, topology, num_heads, nodes, pairs)
    updated = []
    for x, a in zip(nodes, attended, strict=True):
        updated.append(_residuals(params, "node", x, _affine.affine(params["out"], a)))
    if "pair_edge" in params:
        pairs = _update_pairs(params, topology, updated, pairs)
    return tuple(updated), pairs


def _attend(
    params: Params,
    topology: graphs.Topology,
    num_heads: int,
    nodes: Nodes,
    pairs: Pairs,
) -> list[Array]:
    """Return what every neuron reads from its neighbours, `[N, n, A]` per space."""
    of_nodes = [jnp.split(_affine.affine(params["node"], x), 3, axis=-1) for x in nodes]
    scores: list[list[Array]] = [[] for _ in nodes]
    values: list[list[Array]] = [[] for _ in nodes]
    for block, states in zip(topology.blocks, pairs, strict=True):
        ends = (block.source, block.target)
        for own, other, e in zip(ends, ends[::-1], states, strict=True):
            query, (_, key, value) = of_nodes[own][0][:, :, None], of_nodes[other]
            q, k, v_times, v_plus = jnp.split(_affine.affine(params["edge"], e), 4, -1)
            products = (query + q) * (key[:, None] + k) / math.sqrt(q.shape[-1])
            scores[own].append(_heads(products, num_heads).sum(-1))
            v = value[:, None] * v_times + v_plus
            values[own].append(_heads(v, num_heads))
    attended = []
    for score, value in zip(scores, values, strict=True):
        weights = jax.nn.softmax(jnp.concatenate(score, axis=2), axis=2)
        total = jnp.sum(weights[..., None] * jnp.concatenate(value, axis=2), axis=2)
        attended.append(total.reshape(*total.shape[:2], -1))
    return attended


def _update_pairs(
    params: Params, topology: graphs.Topology, nodes: Sequence[Array], pairs: Pairs
) -> Pairs:
    own = [_affine.affine(params["pair_own"], x) for x in nodes]
    other = [_affine.affine(params["pair_other"], x) for x in nodes]
    updated = []
    for block, (forward, backward) in zip(topology.blocks, pairs, strict=True):
        ends = (block.source, block.target)
        states = ((forward, backward), (backward, forward))
        new = []
        for i, j, (e, reverse) in zip(ends, ends[::-1], states, strict=True):
            both = jnp.concatenate([e, jnp.swapaxes(reverse, 1, 2)], axis=-1)
            hidden = _affine.affine(params["pair_edge"], both)
            hidden = jax.nn.gelu(hidden + own[i][:, :, None] + other[j][:, None])
            y = _affine.affine(params["pair_out"], hidden)
            new.append(_residuals(params, "edge", e, y))
        updated.append(tuple(new))
    return tuple(updated)


def _residuals(params: Params, name: str, x: Array, y: Array) -> Array:
    """Return `z + MLP(z)` for `z = x + y`, with a norm after each sum."""
    x = _affine.layer_norm(params[f"{name}_norm_0"], x + y)
    hidden = jax.nn.gelu(_affine.affine(params[f"{name}_mlp_0"], x))
    y = _affine.affine(params[f"{name}_mlp_1"], hidden)
    return _affine.layer_norm(params[f"{name}_norm_1"], x + y)


def _heads(x: Array, num_heads: int) -> Array:
    """Return `[*rows, A]` as `[*rows, num_heads, A / num_heads]`."""
    return x.reshape(*x.shape[:-1], num_heads, -1)
