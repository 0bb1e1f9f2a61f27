"""Principal neighbourhood aggregation on the weight graph, block by block.

For every block of edges (one weight tensor) from space `s` to space `t`

    message   m_st = scale * pre([X_t, X_s]) + shift,   scale, shift = encode(E_st)
    update    X'_t = out(post([X_t, A, A log(degree + 1) / delta]))
              A    = [mean, min, max, std] of m over the sources
    edges     E'   = out_e(silu(E W_e + X_s W_s + X_t W_t))

(Corso et al. 2020, arXiv 2004.05718, as used in Neural Graphs, Kofinas et al. 2024,
arXiv 2403.12143). `pre` and the edge update split into parts that are computed per
node; edges of a block are a dense `[N, S, T, D]` array, so the four aggregates are
reductions over an axis and no adjacency matrix is needed.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params

Nodes = tuple[Array, ...]
Edges = tuple[Array, ...]

NORMS = ("graph", "node", "batch")
_AXES = {"graph": (1, 2), "node": (2,), "batch": (0, 1, 2)}

MIN_VARIANCE = 1e-5
"""Smaller variances of messages count as zero."""


def init_pna(key: Key, width: int, *, last: bool) -> Params:
    """Return the parameters of one layer; the last one updates nodes only."""
    keys = iter(jax.random.split(key, 8))
    affine = _affine.init_affine
    params: dict[str, Any] = {
        "edge_encoder": affine(next(keys), width, 2 * width),
        "pre": affine(next(keys), 2 * width, width),
        "post": affine(next(keys), 9 * width, width),
        "out": affine(next(keys), width, width),
    }
    if not last:
        params["norm"] = _affine.init_norm(width)
        names = ("edge", "source", "target", "out")
        params["edge_update"] = {n: affine(next(keys), width, width) for n in names}
    return params


def pna(
    params: Params,
    nodes: Nodes,
    edges: Edges,
    *,
    topology: graphs.Topology,
    norm: str,
) -> tuple[Nodes, Edges]:
    """Return the node and edge features after one layer.

    Nodes are `[N, n, D]` per space and normalised over what `norm` names: "graph" (all
    nodes and features of one network), "node", or "batch" (all networks at once, as
    published). Edges are `[N, S, T, D]` per block. The last layer has neither norm nor
    activation and returns the edges as they came.
    """
    affine, updated = _affine.affine, []
    for x, a in zip(nodes, _aggregate(params, topology, nodes, edges), strict=True):
        x = affine(params["post"], jnp.concatenate([x, a], axis=-1))
        updated.append(affine(params["out"], x))
    if "norm" not in params:
        return tuple(updated), edges
    updated = [
        jax.nn.silu(_affine.rescale(params["norm"], x))
        for x in _normalise(norm, updated)
    ]
    maps, new_edges = params["edge_update"], []
    source = [affine(maps["source"], x) for x in updated]
    target = [affine(maps["target"], x) for x in updated]
    for block, e in zip(topology.blocks, edges, strict=True):
        e = affine(maps["edge"], e) + source[block.source][:, :, None]
        e = jax.nn.silu(e + target[block.target][:, None])
        new_edges.append(affine(maps["out"], e))
    return tuple(updated), tuple(new_edges)


def _aggregate(
    params: Params, topology: graphs.Topology, nodes: Nodes, edges: Edges
) -> Iterator[Array]:
    """Yield what every space reads, `[N, n, 8 D]`; zeros where nothing is read."""
    width = nodes[0].shape[-1]
    to_target, to_source = jnp.split(params["pre"]["w"], 2)
    source = [x @ to_source for x in nodes]
    target = [_affine.add(x @ to_target, params["pre"]["b"]) for x in nodes]
    degrees = in_degrees(topology)
    delta = mean_log_degree(topology)
    for i, x in enumerate(nodes):
        if not degrees[i]:
            yield jnp.zeros((*x.shape[:-1], 8 * width), x.dtype)
            continue
        sums, squares, smallest, largest = [], [], [], []
        for block, e in zip(topology.blocks, edges, strict=True):
            if block.target != i:
                continue
            scale, shift = jnp.split(_affine.affine(params["edge_encoder"], e), 2, -1)
            m = scale * (target[i][:, None] + source[block.source][:, :, None]) + shift
            sums.append(jnp.sum(m, axis=1))
            squares.append(jnp.sum(m**2, axis=1))
            smallest.append(-_affine.largest(-m, (1,)))
            largest.append(_affine.largest(m, (1,)))
        mean = sum(sums) / degrees[i]
        variance = sum(squares) / degrees[i] - mean**2
        varies = variance > MIN_VARIANCE
        std = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 0.0)
        low = functools.reduce(jnp.minimum, smallest)
        high = functools.reduce(jnp.maximum, largest)
        a = jnp.concatenate([mean, low, high, std], axis=-1)
        yield jnp.concatenate([a, a * (math.log(degrees[i] + 1) / delta)], axis=-1)


def in_degrees(topology: graphs.Topology) -> list[int]:
    """Return the number of incoming edges of a neuron of every space."""
    degrees = [0] * len(topology.spaces)
    for block in topology.blocks:
        degrees[block.target] += topology.spaces[block.source].size
    return degrees


def mean_log_degree(topology: graphs.Topology) -> float:
    """Return the mean of `log(degree + 1)` over all neurons, PNA's `delta`."""
    sizes = [space.size for space in topology.spaces]
    return float(np.average(np.log1p(in_degrees(topology)), weights=sizes))


def _normalise(norm: str, nodes: Sequence[Array]) -> Iterator[Array]:
    """Yield the nodes with mean 0 and deviation 1 over what `norm` names."""
    x = jnp.concatenate(nodes, axis=1)
    x = x - jnp.mean(x, axis=_AXES[norm], keepdims=True)
    variance = jnp.mean(x**2, axis=_AXES[norm], keepdims=True)
    # A safe root: the gradient at a variance of zero is finite.
    std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(x.dtype).tiny))
    x = x / (std + 1e-5)
    start = 0
    for space in nodes:
        yield x[:, start : start + space.shape[1]]
        start += space.shape[1]
