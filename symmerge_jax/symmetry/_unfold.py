"""Matrices of all weights that belong to the neurons of one space."""

import jax.numpy as jnp

from symmerge_jax.symmetry import _axes, _spec, _tree
from symmerge_jax.typing import Array, Params


def unfold(params: Params, spec: _spec.SymmetrySpec, space: str, *powers: int) -> Array:
    """Return the weights of a space as a matrix `[n, m]` with one row per neuron.

    Row `i` holds, side by side, everything that the network writes to neuron `i`
    (power `+1`: kernels in front of it, bias), reads from it (power `-1`) or keeps
    for it (power `0`). A permutation of the space permutes the rows; inner products of
    the rows of two networks are the similarity that weight matching maximises.

    Args:
      params: parameters of one network.
      spec: names the axes.
      space: name of the space, with `n` neurons.
      *powers: the uses to include, of `+1`, `0` and `-1`; `m` is 0 if there are none.
    """
    matrices = unfold_uses(params, spec, space, *powers)
    if not matrices:
        return jnp.zeros((spec.sizes(params)[space], 0))
    return jnp.concatenate(matrices, axis=1)


def unfold_uses(
    params: Params, spec: _spec.SymmetrySpec, space: str, *powers: int
) -> list[Array]:
    """Return the columns of `unfold` by use of the space, `[n, m]` each.

    Args:
      params: parameters of one network.
      spec: names the axes.
      space: name of the space, with `n` neurons.
      *powers: the uses to include, one matrix for each.
    """
    return [
        leaf.reshape(leaf.shape[0], -1)
        for leaf, _ in blocks(params, spec, space, *powers)
    ]


def blocks(
    params: Params, spec: _spec.SymmetrySpec, space: str, *powers: int
) -> list[tuple[Array, list[_axes.Axis | None]]]:
    """Return, per use of a space, its parameter as `[n, ...]` and the other axes."""
    leaves = _tree.flatten(params)
    axes_of = dict(spec.axes)
    found = []
    for path, number, axis in spec.uses(space, *powers):
        rest = [a for i, a in enumerate(axes_of[path]) if i != number]
        leaf = jnp.moveaxis(leaves[path], number, 0)
        if axis.repeat > 1:
            leaf = leaf.reshape(axis.repeat, -1, *leaf.shape[1:]).swapaxes(0, 1)
            rest = [None, *rest]
        found.append((leaf, rest))
    return found
