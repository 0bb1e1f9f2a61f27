"""The parameters of a network as tensors on which permutations act axis by axis.

Deep weight space layers (Navon et al. 2023, arXiv 2301.12780) map tensors to tensors.
Axes over hidden neurons are *free*: a permutation acts on them. Input and output
neurons never move, so their axes are channels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.typing import Array


class WeightTensor(NamedTuple):
    """One weight tensor or bias of an architecture.

    Attributes:
      spaces: indices of the spaces that it runs over.
      free: those of them that are hidden: its axes, in this order.
      fixed: number of fixed neurons (or pairs of them) in its channels.
      reads_inputs: whether one of its spaces holds the inputs.
    """

    spaces: tuple[int, ...]
    free: tuple[int, ...]
    fixed: int
    reads_inputs: bool


def weight_tensors(topology: graphs.Topology) -> tuple[WeightTensor, ...]:
    """Return the tensors: one per block of edges, then one per space that is written.

    The latter hold the biases, zeros where there are none.
    """

    def describe(*spaces: int) -> WeightTensor:
        free = tuple(i for i in spaces if topology.spaces[i].role == "hidden")
        fixed = math.prod(topology.spaces[i].size for i in spaces if i not in free)
        reads_inputs = any(topology.spaces[i].role == "input" for i in spaces)
        return WeightTensor(spaces, free, fixed, reads_inputs)

    return (
        *(describe(block.source, block.target) for block in topology.blocks),
        *(
            describe(i)
            for i, space in enumerate(topology.spaces)
            if space.role != "input"
        ),
    )


def split(
    topology: graphs.Topology, nodes: Sequence[Array], edges: Sequence[Array]
) -> tuple[Array, ...]:
    """Return the values of every tensor, `[N, *free, fixed * F]`; `F` is 1 for biases.

    Args:
      topology: nodes and edges.
      nodes: `[N, n, 1]` per space.
      edges: `[N, S * T, F]` per block.
    """
    arrays = []
    for block, x in zip(topology.blocks, edges, strict=True):
        source, target = topology.spaces[block.source], topology.spaces[block.target]
        x = x.reshape(len(x), source.size, target.size, x.shape[-1])
        if source.role != "hidden":
            x = jnp.moveaxis(x, 1, -2)
            x = x.reshape(*x.shape[:-2], -1)
        if target.role != "hidden":
            x = jnp.moveaxis(x, -2 if source.role == "hidden" else 1, -2)
            x = x.reshape(*x.shape[:-2], -1)
        arrays.append(x)
    for space, x in zip(topology.spaces, nodes, strict=True):
        if space.role != "input":
            arrays.append(x if space.role == "hidden" else x.reshape(len(x), -1))
    return tuple(arrays)
