"""One message-passing step on the weight graph, block by block.

For every block of edges (one weight tensor) from space `s` to space `t`

    message   m_st = eq_msg((X_s Wv) * (E_st We)),   A_t = sum_s m_st
    update    Xn   = eq_upd([X, A])
    edges     E'   = (E W) * phi_e([c(X_s), c(X_t)])

(Kalogeropoulos et al. 2024, arXiv 2406.10685; spec of the autoencoder: Boufalis et al.
2025, arXiv 2511.12601). Neurons on which no group acts use an unconstrained branch,
evaluated on their slice only. Everything that depends on one node is computed per node;
edges of a block are a dense `[N, S, T, D]` array, so aggregation is a sum over an axis.

Without signs and scales (`Rules.feature_map` None) the three maps are plain MLPs of the
concatenated features, the permutation-only baseline of the paper.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine, _equivariant, _norm_silu, _source_slices
from symmerge_jax.typing import Array, Key, Params

Nodes = tuple[Array, ...]
Edges = tuple[Array | _affine.RawEdges, ...]


class Rules(NamedTuple):
    """What a message-passing step computes; static.

    Attributes:
      feature_map: that of hidden neurons; None for the permutation-only model.
      io: branch of input and output neurons: "gated" `(x W) * phi_io(x)` with the `W`
        of the hidden branch, or "mlp" `mlp_io(x)`.
      num_io_mlps: 1 if input and output neurons share that MLP, 2 if not.
      bidirectional: whether messages also run against the edges.
      skip: whether a linear map of the old node features is added to the new.
      aggregator: "sum" or "mean" over the incoming messages.
    """

    feature_map: _equivariant.FeatureMap | None
    io: str = "gated"
    num_io_mlps: int = 1
    bidirectional: bool = False
    skip: bool = True
    aggregator: str = "sum"


class _Inputs(NamedTuple):
    """What a step reads, see `message_passing`."""

    topology: graphs.Topology
    rules: Rules
    nodes: Nodes
    edges: Edges
    switch: Array | None

    def ends(self, *, forward: bool) -> list[tuple[int, int]]:
        """Return sender and receiver of the messages of every block."""
        ends = [(block.source, block.target) for block in self.topology.blocks]
        return ends if forward else [(receiver, sender) for sender, receiver in ends]


def init_message_passing(key: Key, width: int, rules: Rules, *, last: bool) -> Params:
    """Return the parameters of one step at feature width `D`.

    `Wv`, `We`, `message` (and `backward` with the same three), `update`, `skip` and,
    before the last step, `edge`.
    """
    keys = iter(jax.random.split(key, 9))
    square = (width, width)
    is_plain = rules.feature_map is None

    def init_messages() -> dict[str, Any]:
        if is_plain:
            mlp = _equivariant.init_mlp(next(keys), 2 * width, width, width)
            return {"message": mlp}
        return {
            "Wv": _affine.init_linear(next(keys), square, width),
            "We": _affine.init_linear(next(keys), square, width),
            "message": _init_branches(next(keys), width, width, rules),
        }

    params = init_messages()
    if rules.bidirectional:
        params["backward"] = init_messages()
    size = (3 if rules.bidirectional else 2) * width
    if is_plain:
        params["update"] = _equivariant.init_mlp(next(keys), size, width, width)
    else:
        params["update"] = _init_branches(next(keys), size, width, rules)
    if not last:
        params["edge"] = _init_edge(next(keys), width, rules)
    if rules.skip:
        params["skip"] = _affine.init_linear(next(keys), square, width)
    return params


def message_passing(
    params: Params,
    nodes: Nodes,
    edges: Edges,
    *,
    topology: graphs.Topology,
    rules: Rules,
    switch: Array | None = None,
) -> tuple[Nodes, Edges]:
    """Return the node and edge features after one step.

    Equivariant: a hidden neuron's features transform by the scalar of that neuron, an
    edge's by that of its target over that of its source; permutations permute.

    Nodes are `[N, n, D]` per space. Edges are `[N, S, T, D]` per block, or `RawEdges`
    before the first step; without parameters `edge` they stay as they are. In mixed
    batches `switch` `[N]` says which networks have scales.
    """
    is_plain = rules.feature_map is None
    messages = _plain_messages if is_plain else _messages
    inputs = _Inputs(topology, rules, nodes, edges, switch)
    sums = [messages(params, inputs, forward=True)]
    if rules.bidirectional:
        sums.append(messages(params["backward"], inputs, forward=False))
    updated = []
    for space, x, *parts in zip(topology.spaces, nodes, *sums, strict=True):
        joined = jnp.concatenate([x, *parts], axis=-1)
        if is_plain:
            new = _equivariant.mlp(params["update"], joined)
        else:
            new = _branch(rules, switch, space.role, params["update"], joined)
        if rules.skip:
            new = _affine.matmul(x, params["skip"]) + new
        updated.append(new)
    if "edge" in params:
        update = _update_plain_edges if is_plain else _update_edges
        edges = update(params["edge"], inputs)
    return tuple(updated), edges


def _messages(params: Params, inputs: _Inputs, *, forward: bool) -> list[Array]:
    """Return the aggregated messages `[N, n, D]` of every space."""
    topology, rules, nodes, edges, switch = inputs
    ends = inputs.ends(forward=forward)
    values = {s: _affine.matmul(nodes[s], params["Wv"]) for s in {s for s, _ in ends}}
    parts: list[list[Array]] = [[] for _ in nodes]
    for (sender, receiver), e in zip(ends, edges, strict=True):
        role = topology.spaces[receiver].role

        def summed(e, value, role=role):
            if forward and isinstance(e, _affine.RawEdges):
                product = e.times_source(value, params["We"])
            else:
                value = value[:, :, None] if forward else value[:, None]
                product = _affine.matmul(e, params["We"]) * value
            message = _branch(rules, switch, role, params["message"], product)
            return jnp.sum(message, axis=1 if forward else 2)

        run = functools.partial(_source_slices.sum_over_sources, summed)
        parts[receiver].append((run if forward else summed)(e, values[sender]))
    return _aggregate(inputs, ends, parts)


def _plain_messages(params: Params, inputs: _Inputs, *, forward: bool) -> list[Array]:
    """Return the aggregated messages; the second linear map comes after the sum."""
    nodes = inputs.nodes
    phi = params["message"]
    weight, bias = _norm_silu.centre(phi["w0"], phi["b0"])
    of_edge, of_sender = jnp.split(weight, 2)
    ends = inputs.ends(forward=forward)
    parts: list[list[Array]] = [[] for _ in nodes]
    for (sender, receiver), e in zip(ends, inputs.edges, strict=True):
        value = _affine.matmul(nodes[sender], of_sender)
        value = value[:, :, None] if forward else value[:, None]
        first = _affine.add(_affine.matmul(e, of_edge) + value, bias)
        hidden = jnp.sum(_equivariant.hidden(phi, first), axis=1 if forward else 2)
        message = _affine.matmul(hidden, phi["w1"])
        count = nodes[sender].shape[1]
        parts[receiver].append(_affine.add(message, count * phi["b1"]))
    return _aggregate(inputs, ends, parts)


def _aggregate(
    inputs: _Inputs, ends: list[tuple[int, int]], parts: list[list[Array]]
) -> list[Array]:
    sums, spaces = [], inputs.topology.spaces
    for i, (x, messages) in enumerate(zip(inputs.nodes, parts, strict=True)):
        if not messages:
            sums.append(jnp.zeros_like(x))
            continue
        total = sum(messages[1:], start=messages[0])
        if inputs.rules.aggregator == "mean":
            total = total / sum(spaces[s].size for s, r in ends if r == i)
        sums.append(total)
    return sums


def _branch(
    rules: Rules,
    switch: Array | None,
    role: str,
    params: Params,
    x: Array | _affine.Factored,
) -> Array:
    """Return the map of `x` for nodes, or edges into nodes, of one role."""
    if role == "hidden":
        assert rules.feature_map is not None
        return _equivariant.equivariant(rules.feature_map, params, x, switch)
    suffix = "out" if role == "output" and rules.num_io_mlps == 2 else "io"
    if rules.io == "mlp":
        return _equivariant.mlp(params[f"mlp_{suffix}"], x)
    gated = {"W": params["W"], "phi": params[f"phi_{suffix}"]}
    return _equivariant.equivariant(_equivariant.IDENTITY, gated, x)


def _update_edges(update: Params, inputs: _Inputs) -> Edges:
    """Return the new edges; what `phi_e` makes of a node is computed once."""
    topology, rules, nodes, edges, switch = inputs
    assert rules.feature_map is not None
    weight, bias = _norm_silu.centre(update["phi"]["w0"], update["phi"]["b0"])
    width, size = weight.shape[0] // 2, bias.shape[0]
    both = jnp.concatenate([weight[:width], weight[width:]], axis=-1)
    bias = jnp.concatenate([bias, jnp.zeros_like(bias)])
    sides = [
        _equivariant.canonical_linear(
            rules.feature_map, update.get("rho"), x, both, bias, switch
        )
        for x in nodes
    ]
    new_edges = []
    for block, e in zip(topology.blocks, edges, strict=True):
        target = sides[block.target][..., size:][:, None]

        def new(e, source, target=target):
            first = source[:, :, None] + target
            phi = _equivariant.after_first(update["phi"], first)
            return _affine.matmul(e, update["W"]) * phi

        source = sides[block.source][..., :size]
        new_edges.append(_source_slices.map_sources(new, e, source))
    return tuple(new_edges)


def _update_plain_edges(phi: Params, inputs: _Inputs) -> Edges:
    topology, _, nodes, edges, _ = inputs
    weight, bias = _norm_silu.centre(phi["w0"], phi["b0"])
    of_edge, of_source, of_target = jnp.split(weight, 3)
    new_edges = []
    for block, e in zip(topology.blocks, edges, strict=True):
        source = _affine.matmul(nodes[block.source], of_source)[:, :, None]
        target = _affine.matmul(nodes[block.target], of_target)[:, None]
        first = _affine.add(_affine.matmul(e, of_edge) + source + target, bias)
        new_edges.append(_equivariant.after_first(phi, first))
    return tuple(new_edges)


def _init_branches(key: Key, size: int, width: int, rules: Rules) -> Params:
    """Return `W`, `phi`, `rho` of the hidden branch and the MLPs of the I/O branch."""
    keys = jax.random.split(key, 5)
    mlp, feature_map = _equivariant.init_mlp, rules.feature_map
    params = {
        "W": _affine.init_linear(keys[0], (size, width), size),
        "phi": mlp(keys[1], size, width, width),
    }
    if feature_map is not None and feature_map.has_rho:
        params["rho"] = mlp(keys[2], size, width, size)
    if feature_map is not None and feature_map.mixed:
        params["phi_scale"] = mlp(jax.random.fold_in(key, 5), size, width, width)
    name = "phi" if rules.io == "gated" else "mlp"
    params[f"{name}_io"] = mlp(keys[3], size, width, width)
    if rules.num_io_mlps == 2:
        params[f"{name}_out"] = mlp(keys[4], size, width, width)
    return params


def _init_edge(key: Key, width: int, rules: Rules) -> Params:
    """Return `W`, `phi` and `rho` of the edge update; of the plain one its MLP."""
    if rules.feature_map is None:
        return _equivariant.init_mlp(key, 3 * width, width, width)
    keys = jax.random.split(key, 3)
    params = {
        "W": _affine.init_linear(keys[0], (width, width), width),
        "phi": _equivariant.init_mlp(keys[1], 2 * width, width, width),
    }
    if rules.feature_map.has_rho:
        params["rho"] = _equivariant.init_mlp(keys[2], width, width, width)
    return params
