"""The member of an orbit of positive scales that a network is read at.

An encoder that is invariant to scales gives every member of an orbit the same latent,
but only in exact arithmetic. Matrix products that round what they multiply (TF32 on a
GPU, bfloat16 on a TPU, the defaults there) round every member differently: relative
deviations of 6e-4 with TF32 emulated. Read at one member, twins are rounded alike.
"""

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _equivariant
from symmerge_jax.typing import Array


def unit_rows(
    topology: graphs.Topology,
    nodes: Array,
    edges: Array,
    switch: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Rescale hidden neurons so that what each one reads, with its bias, has norm one.

    Space by space from the inputs on, each from the weights that read spaces before it:
    one pass, where balanced scales take many. Neurons that read nothing stay as they
    are. No gradient goes through the scales: to an invariant encoder they are constant.

    Args:
      topology: nodes and edges; all hidden spaces are moved.
      nodes: `[N, V, 1]`.
      edges: `[N, E, F]`.
      switch: `[N]` bool, which networks are moved; None for all.

    Returns:
      Nodes and edges of the twins, and the scales `[N, V]`, 1 where nothing moved.
    """
    biases: list[Array] = [nodes[:, where, 0] for where in topology.node_slices]
    blocks: list[Array] = []
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        size = (topology.spaces[block.source].size, topology.spaces[block.target].size)
        blocks.append(edges[:, where].reshape(len(edges), *size, edges.shape[-1]))
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
