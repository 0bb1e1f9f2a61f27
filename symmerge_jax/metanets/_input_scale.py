"""Constant factors that bring raw weights and biases to the size of one.

The weights of a SIREN are about 0.02 and their products vanish; a positive factor per
tensor mends that and commutes with permutations, signs and scales, so every law holds.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax import graphs
from symmerge_jax.typing import Array, Path


class InputScale(NamedTuple):
    """Positive factors, hashable: a static option of `ScaleGMN`.

    Attributes:
      nodes: one factor per space, for its biases.
      edges: one factor per block, for its weights.
    """

    nodes: tuple[float, ...]
    edges: tuple[float, ...]


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

    return InputScale(
        tuple(factor(space.bias) for space in topology.spaces),
        tuple(factor(block.path) for block in topology.blocks),
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
