"""What is done to raw weights and biases before a metanet reads them.

Factors of a population bring them to the size of one: the weights of a SIREN are about
0.02, and their products vanish. Unit rows choose the member of an orbit of positive
scales at which a network is read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.metanets import _equivariant
from symmerge_jax.typing import Array, Path


class InputScale(NamedTuple):
    """Positive factors, hashable: a static option of `ScaleGMN`.

    They commute with permutations, signs and scales, so every law holds.

    Attributes:
      nodes: one factor per space, for its biases.
      edges: one factor per block, for its weights.
    """

    nodes: tuple[float, ...]
    edges: tuple[float, ...]


class InputMoments(NamedTuple):
    """Means and standard deviations of the raw features, hashable.

    Attributes:
      nodes: one pair per space, for its biases.
      edges: one pair per block, for its weights.
    """

    nodes: tuple[tuple[float, float], ...]
    edges: tuple[tuple[float, float], ...]


def input_scale(
    topology: graphs.Topology, statistics: Mapping[Path, tuple[float, float]]
) -> InputScale:
    """Return one over the root mean square of each tensor over a population.

    Args:
      topology: nodes and edges of the architecture.
      statistics: mean and standard deviation of every tensor, as `zoo.statistics`
        measures them; the mean square is `mean^2 + std^2`.

    Returns:
      The factors; 1 for spaces without a bias and for tensors that are zero.
    """

    def factor(path: Path | None) -> float:
        rms = 0.0 if path is None else math.hypot(*statistics[path])
        return 1 / rms if rms else 1.0

    return InputScale(*_per_tensor(topology, factor))


def input_moments(
    topology: graphs.Topology, statistics: Mapping[Path, tuple[float, float]]
) -> InputMoments:
    """Return mean and standard deviation of each tensor over a population.

    Args:
      topology: nodes and edges of the architecture.
      statistics: see `input_scale`.

    Returns:
      The moments; (0, 1) for spaces without a bias, deviation 1 for constant tensors.
    """

    def moments(path: Path | None) -> tuple[float, float]:
        mean, std = (0.0, 1.0) if path is None else statistics[path]
        return float(mean), float(std) or 1.0

    return InputMoments(*_per_tensor(topology, moments))


def multiply(
    scale: InputScale, topology: graphs.Topology, nodes: Array, edges: Array
) -> tuple[Array, Array]:
    """Return nodes `[N, V, 1]` and edges `[N, E, F]` times the factors."""
    _check_fits("input_scale", scale, topology)
    if min(*scale.nodes, *scale.edges) <= 0:
        raise ValueError(f"input_scale must be positive, got {scale}.")
    per_node = np.repeat(scale.nodes, [space.size for space in topology.spaces])
    per_edge = np.repeat(scale.edges, [s.stop - s.start for s in topology.edge_slices])
    return (
        nodes * jnp.asarray(per_node, nodes.dtype)[None, :, None],
        edges * jnp.asarray(per_edge, edges.dtype)[None, :, None],
    )


def standardised(
    topology: graphs.Topology, moments: InputMoments | None, nodes: Array, edges: Array
) -> tuple[list[Array], list[Array]]:
    """Return nodes `[N, n, 1]` per space and edges `[N, S * T, F]` per block.

    From raw features `[N, V, 1]` and `[N, E, F]`, as they are where `moments` is None.
    """
    by_space = [nodes[:, where] for where in topology.node_slices]
    by_block = [edges[:, where] for where in topology.edge_slices]
    if moments is None:
        return by_space, by_block
    _check_fits("input_moments", moments, topology)
    if min(std for _, std in (*moments.nodes, *moments.edges)) <= 0:
        raise ValueError(f"input_moments has a deviation that is not > 0: {moments}.")
    return _standardise(moments.nodes, by_space), _standardise(moments.edges, by_block)


def unit_rows(
    topology: graphs.Topology,
    nodes: Array,
    edges: Array,
    switch: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Rescale hidden neurons so that what each one reads, with its bias, has norm one.

    An encoder that is invariant to scales gives all members of an orbit one latent only
    in exact arithmetic. Products that round what they multiply (TF32 on a GPU, bfloat16
    on a TPU) round every member differently; read at one member, twins are rounded
    alike.

    Space by space from the inputs on, each from the weights that read spaces before it:
    one pass, where balanced scales take many. Neurons that read nothing stay as they
    are. No gradient goes through the scales: to an invariant encoder they are constant.

    Returns nodes `[N, V, 1]` and edges `[N, E, F]` of the twins, and scales `[N, V]`, 1
    where nothing moved: `switch` `[N]` says which networks are moved, None for all.
    """
    biases: list[Array] = [nodes[:, where, 0] for where in topology.node_slices]
    blocks = [
        edges[:, where].reshape(
            len(edges), *topology.block_shape(block), edges.shape[-1]
        )
        for block, where in zip(topology.blocks, topology.edge_slices, strict=True)
    ]
    scales: list[Array] = [jnp.ones_like(bias) for bias in biases]
    for i, space in enumerate(topology.spaces):
        if space.role != "hidden":
            continue
        incoming = [biases[i][..., None]]
        for block, e in zip(topology.blocks, blocks, strict=True):
            is_fixed = topology.spaces[block.source].role != "hidden"
            if block.target == i and (block.source < i or is_fixed):
                rows = jnp.moveaxis(e, 2, 1)
                incoming.append(rows.reshape(*rows.shape[:2], -1))
        scale = _equivariant.inverse_norm(jnp.concatenate(incoming, axis=-1))
        scale = jax.lax.stop_gradient(scale[..., 0])
        if switch is not None:
            scale = jnp.where(switch[:, None], scale, 1)
        scales[i] = scale
        biases[i] = biases[i] * scale
        for number, block in enumerate(topology.blocks):
            if block.target == i:
                blocks[number] = blocks[number] * scale[:, None, :, None]
            if block.source == i:
                blocks[number] = blocks[number] / scale[:, :, None, None]
    flat = [e.reshape(len(e), -1, e.shape[-1]) for e in blocks]
    return (
        jnp.concatenate(biases, axis=1)[..., None],
        jnp.concatenate(flat, axis=1),
        jnp.concatenate(scales, axis=1),
    )


def _per_tensor(
    topology: graphs.Topology, function: Callable[[Path | None], Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the values of a function of the biases of spaces, and of all weights."""
    return (
        tuple(function(space.bias) for space in topology.spaces),
        tuple(function(block.path) for block in topology.blocks),
    )


def _standardise(
    moments: Sequence[tuple[float, float]], arrays: Sequence[Array]
) -> list[Array]:
    return [(x - mean) / std for (mean, std), x in zip(moments, arrays, strict=True)]


def _check_fits(
    name: str, values: InputScale | InputMoments, topology: graphs.Topology
) -> None:
    expected = (len(topology.spaces), len(topology.blocks))
    if (len(values.nodes), len(values.edges)) != expected:
        raise ValueError(
            f"{name} has {len(values.nodes)} node and {len(values.edges)} edge entries,"
            f" the topology {expected[0]} spaces and {expected[1]} blocks."
        )
