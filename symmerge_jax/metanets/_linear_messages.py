"""ScaleGMN with linear messages: neurons exchange products with the weight matrices.

The published model computes each message with an MLP, edge by edge, and keeps features
of edges. Here the weight matrices are what features are multiplied with, as activations
are in the network itself, and only neurons have features (rows of `X`):

    messages  F_t = sum_s W_st^T X_s,     B_s = sum_t W_st X_t
    update    X'  = norm(X K + (u V) * gate(u) / 2 + 3/2 wave(u S) R),  u = [X, F, B]

Messages are divided by the square root of how many numbers they add up. A neuron whose
sign is free carries *odd* features: its maps have no biases, its gate is even in `u`,
`norm` divides rows by their root mean square, and the wave is `sin`, as in a SIREN. So
the law of ScaleGMN holds: features change sign with their neuron. Where nothing is
free, at inputs and outputs, there are biases. A positive scale is carried by one number
per neuron, the norm of what it reads (`_inputs.unit_rows`): features are those of the
twin whose rows have norm one, on which nothing is left to act, and the wave is that of
the network, `relu`. A kernel has a matrix `W_st` for each of its positions, and a
learned vector for each, which features are multiplied by first.

With identity maps, features of the inputs are points, and what flows forward is what
the network computes there: probing is in the class, but nothing starts with it.

The model follows Kalogeropoulos et al. 2024 (arXiv 2406.10685) in what it is
equivariant to; its maps are ours. Linear maps of weights: Navon et al. 2023, arXiv
2301.12780.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import graphs, networks
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params

Nodes = tuple[Array, ...]

_WAVES = {"sign": networks.sine, "scale": jax.nn.relu, "permutation": jax.nn.silu}
"""What neurons do with what they read, by the group that acts on hidden ones."""

_EPSILON = 1e-5


class Rules(NamedTuple):
    """What a step computes; static.

    Attributes:
      topology: nodes and edges of the architecture.
      symmetry: "sign", "scale" or "permutation", of hidden neurons.
      bidirectional: whether messages also run from targets to sources.
    """

    topology: graphs.Topology
    symmetry: str
    bidirectional: bool

    def is_odd(self, space: graphs.NodeSpace) -> bool:
        """Return whether features of neurons change sign with them."""
        return self.symmetry == "sign" and space.role == "hidden"

    def fan_in(self, space: int, way: str = "forward") -> int:
        """Return how many products a neuron sums, over all blocks."""
        spaces, blocks = self.topology.spaces, self.topology.blocks
        senders = _ends(self, space, way)
        return sum(spaces[s].size * blocks[i].num_features for i, s in senders)


def weights(rules: Rules, edges: Array) -> tuple[Array, ...]:
    """Return the weights `[N, S, F, T]` of every block, from edges `[N, E, F]`.

    Rows of norm one, which scales leave, are brought to a mean square of one.
    """
    topology, blocks = rules.topology, []
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        shape = topology.block_shape(block)
        w = edges[:, where, : num_positions(topology, block)]
        w = jnp.swapaxes(w.reshape(len(edges), *shape, -1), 2, 3)
        if rules.symmetry == "scale":
            w = w * rules.fan_in(block.target) ** 0.5
        blocks.append(w)
    return tuple(blocks)


def readers(rules: Rules, nodes: Array, blocks: tuple[Array, ...]) -> Nodes:
    """Return which neurons read anything, `[N, n, 1]` bool per space.

    From biases `[N, V, 1]` and weights. A neuron that reads nothing computes nothing,
    and nothing that it reads tells its scale: nobody is to read it.
    """
    topology = rules.topology
    reads = [nodes[:, where] != 0 for where in topology.node_slices]
    for block, w in zip(topology.blocks, blocks, strict=True):
        reads[block.target] |= jnp.any(w != 0, axis=(1, 2))[..., None]
    spaces = zip(topology.spaces, reads, strict=True)
    return tuple(r if s.role == "hidden" else jnp.ones_like(r) for s, r in spaces)


def num_positions(topology: graphs.Topology, block: graphs.EdgeBlock) -> int:
    """Return how many of the numbers of an edge its block may use."""
    return topology.num_edge_features if block.kernel_shape else block.num_features


def init_embedding(key: Key, rules: Rules, width: int) -> Params:
    """Return, by space, the vector `bias` `[1, D]` and, unless odd, `offset`.

    Offsets are `[n, D]` where neurons are told apart, at inputs and outputs.
    """
    params = {}
    for i, space in enumerate(rules.topology.spaces):
        keys = jax.random.split(jax.random.fold_in(key, i))
        params[f"space_{i}"] = {"bias": jax.random.normal(keys[0], (1, width))}
        if not rules.is_odd(space):
            rows = 1 if space.role == "hidden" else space.size
            offset = jax.random.normal(keys[1], (rows, width))
            params[f"space_{i}"]["offset"] = offset
    return params


def embed(params: Params, rules: Rules, nodes: Array) -> Nodes:
    """Return features `[N, n, D]` of every space, from nodes `[N, V, 1]`."""
    features = []
    for i, where in enumerate(rules.topology.node_slices):
        p = params[f"space_{i}"]
        x = nodes[:, where] * p["bias"][None]
        features.append(x + p["offset"][None] if "offset" in p else x)
    return tuple(features)


def init_step(key: Key, rules: Rules, width: int, *, last: bool) -> Params:
    """Return the parameters of one step, of blocks (kernels alone) and of spaces."""
    del last  # all steps are alike
    topology = rules.topology
    params: dict[str, dict[str, Array]] = {}
    for i, block in enumerate(topology.blocks):
        if (size := num_positions(topology, block)) > 1:
            keys = jax.random.split(jax.random.fold_in(key, i))
            params[f"block_{i}"] = {
                name: jax.random.normal(k, (size, width))
                for name, k in zip(_ways(rules), keys, strict=False)
            }
    for i, space in enumerate(topology.spaces):
        keys = jax.random.split(jax.random.fold_in(key, len(topology.blocks) + i), 6)
        num_parts = 1 + sum(bool(_ends(rules, i, way)) for way in _ways(rules))
        p = {
            "V_G_S": _normal(keys[0], num_parts * width, (3 * width,)),
            "gate_b": 0.5 * jax.random.normal(keys[1], (width,)),
            "gate": 0.5 * _normal(keys[2], width, (width,)),
            "gate_one": jnp.ones((width,)),
            "R": _normal(keys[3], width, (width,)),
            "K": _normal(keys[4], width, (width,)),
        }
        if not rules.is_odd(space):
            p["wave_b"] = jax.random.normal(keys[5], (width,))
        params[f"space_{i}"] = p
    return params


def step(
    params: Params, nodes: Nodes, blocks: tuple[Array, ...], *, rules: Rules
) -> tuple[Nodes, tuple[Array, ...]]:
    """Return the features after one step, and the weights as they were.

    Equivariant: odd features change sign with their neuron; permutations permute. Nodes
    are `[N, n, D]` per space, weights `[N, S, F, T]` per block.
    """
    wave, updated = _WAVES[rules.symmetry], []
    for i, (space, x) in enumerate(zip(rules.topology.spaces, nodes, strict=True)):
        p = params[f"space_{i}"]
        parts = [x]
        for way in _ways(rules):
            if ends := _ends(rules, i, way):
                message = _message(params, nodes, blocks, ends, way)
                parts.append(message * rules.fan_in(i, way) ** -0.5)
        u = jnp.concatenate(parts, axis=-1)
        value, gate, phase = jnp.split(_affine.matmul(u, p["V_G_S"]), 3, axis=-1)
        gate = _bent(gate * _inverse_rms(u), p["gate_b"], odd=rules.is_odd(space))
        gate = _affine.add(_affine.matmul(gate, p["gate"]), p["gate_one"])
        if "wave_b" in p:
            phase = _affine.add(phase, p["wave_b"])
        new = _affine.matmul(x, p["K"]) + 0.5 * value * gate
        new = new + 1.5 * _affine.matmul(wave(phase), p["R"])
        updated.append(new * _inverse_rms(new))
    return tuple(updated), blocks


def init_readout(
    key: Key, rules: Rules, width: int, latent_size: int, *, which: str
) -> Params:
    """Return `hidden`, `out` and, for "full_graph", a map for each hidden space."""
    keys = jax.random.split(key, 2)
    size, params = 0, {}
    for i, space in enumerate(rules.topology.spaces):
        if which == "last_layer" and space.role != "output":
            continue
        if space.role != "hidden":
            size += space.size * width
            continue
        k = jax.random.split(jax.random.fold_in(key, i))
        params[f"space_{i}"] = {
            "w": _normal(k[0], width, (2 * width,)),
            "b": 0.5 * jax.random.normal(k[1], (2 * width,)),
        }
        size += 2 * width
    params["hidden"] = {
        "w": _normal(keys[0], size, (4 * width,)),
        "b": jnp.zeros((4 * width,)),
    }
    params["out"] = {
        "w": _normal(keys[1], 4 * width, (latent_size,)),
        "b": jnp.zeros((latent_size,)),
    }
    return params


def readout(params: Params, rules: Rules, nodes: Nodes, *, which: str) -> Array:
    """Return the latents `[N, latent_size]`: `out(silu(hidden(parts)))`.

    Parts are the features of input and output neurons, and of every hidden space the
    mean of an invariant map; with "last_layer" those of the outputs alone.
    """
    parts = []
    for i, (space, x) in enumerate(zip(rules.topology.spaces, nodes, strict=True)):
        if which == "last_layer" and space.role != "output":
            continue
        if space.role == "hidden":
            p = params[f"space_{i}"]
            bent = _bent(_affine.matmul(x, p["w"]), p["b"], odd=rules.is_odd(space))
            parts.append(jnp.mean(bent, axis=1))
        else:
            parts.append(x.reshape(len(x), -1))
    hidden = _affine.affine(params["hidden"], jnp.concatenate(parts, axis=-1))
    return _affine.affine(params["out"], jax.nn.silu(hidden))


def _ways(rules: Rules) -> tuple[str, ...]:
    """Return the directions of messages."""
    return ("forward", "backward") if rules.bidirectional else ("forward",)


def _ends(rules: Rules, receiver: int, way: str) -> list[tuple[int, int]]:
    """Return number and sender of the blocks that bring messages to a space."""
    ends = [(b.source, b.target) for b in rules.topology.blocks]
    if way == "backward":
        ends = [(target, source) for source, target in ends]
    return [(i, s) for i, (s, target) in enumerate(ends) if target == receiver]


def _message(params, nodes, blocks, ends, way: str) -> Array:
    """Return the sum of messages `[N, n, D]` to one space."""
    products = {"forward": "nsft,nsfd->ntd", "backward": "nsft,ntfd->nsd"}[way]
    messages = []
    for i, sender in ends:
        x = nodes[sender][:, :, None]
        if (kernel := params.get(f"block_{i}")) is not None:
            x = x * kernel[way][None, None]
        messages.append(jnp.einsum(products, blocks[i], x))
    return sum(messages[1:], start=messages[0])


def _bent(x: Array, bias: Array, *, odd: bool) -> Array:
    """Return `silu(bias + x)`; of odd `x` half the sum with `silu(bias - x)`, even."""
    bent = jax.nn.silu(_affine.add(x, bias))
    return bent + jax.nn.silu(_affine.add(-x, bias)) if odd else 2 * bent


def _inverse_rms(x: Array) -> Array:
    """Return `1 / sqrt(mean(x^2) + 1e-5)` of rows, `[*rows, 1]`."""
    return jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + _EPSILON)


def _normal(key: Key, size: int, shape: tuple[int, ...]) -> Array:
    """Return a map `[size, *shape]` that keeps the mean square of what it reads."""
    return jax.random.normal(key, (size, *shape)) * size**-0.5
