"""Constant factors that bring raw weights and biases to the size of one.

The weights of a SIREN are about 0.02 and their products vanish; a positive factor per
tensor mends that and commutes with permutations, signs and scales, so every law holds.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jraph
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.typing import Array


class InputScale(NamedTuple):
    """Positive factors, hashable: a static option of `ScaleGMN`.

    Attributes:
      nodes: one factor per space, for its biases.
      edges: one factor per block, for its weights.
    """

    nodes: tuple[float, ...]
    edges: tuple[float, ...]


def input_scale(graph: jraph.GraphsTuple, topology: graphs.Topology) -> InputScale:
    """Return one over the root mean square of each tensor over a population.

    Args:
      graph: nodes `[*N, V, 1]` and edges `[*N, E, F]` of the population.
      topology: the topology it was made with.

    Returns:
      The factors; 1 for spaces without a bias and for tensors that are zero.
    """
    nodes = np.asarray(graph.nodes, np.float64)
    edges = np.asarray(graph.edges, np.float64)
    return InputScale(
        tuple(
            1.0 if space.bias is None else _inverse_rms(nodes[..., where, :])
            for space, where in zip(topology.spaces, topology.node_slices, strict=True)
        ),
        tuple(
            _inverse_rms(edges[..., where, :], edges.shape[-1] / block.num_features)
            for block, where in zip(topology.blocks, topology.edge_slices, strict=True)
        ),
    )


def multiply(
    scale: InputScale, topology: graphs.Topology, nodes: Array, edges: Array
) -> tuple[Array, Array]:
    """Return nodes `[N, V, 1]` and edges `[N, E, F]` times the factors.

    Raises:
      ValueError: if the factors do not fit the topology or are not positive.
    """
    expected = (len(topology.spaces), len(topology.blocks))
    if (len(scale.nodes), len(scale.edges)) != expected:
        raise ValueError(
            f"input_scale has {len(scale.nodes)} node and {len(scale.edges)} edge"
            f" factors, the topology {expected[0]} spaces and {expected[1]} blocks."
        )
    if min(*scale.nodes, *scale.edges) <= 0:
        raise ValueError(f"input_scale must be positive, got {scale}.")
    per_node = np.repeat(scale.nodes, [space.size for space in topology.spaces])
    per_edge = np.repeat(scale.edges, [s.stop - s.start for s in topology.edge_slices])
    return (
        nodes * jnp.asarray(per_node, nodes.dtype)[None, :, None],
        edges * jnp.asarray(per_edge, edges.dtype)[None, :, None],
    )


def _inverse_rms(x: np.ndarray, padding: float = 1.0) -> float:
    """Return 1 / rms of the entries, of which one in `padding` is no padding zero."""
    rms = float(np.sqrt(np.mean(x**2) * padding))
    return 1 / rms if rms > 0 else 1.0
