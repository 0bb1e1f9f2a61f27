"""Matrices of all weights that belong to the neurons of one space."""

import numpy as np

from symmerge_jax import programs
from symmerge_jax.symmetry import _atoms, _axes, _spec, _tree
from symmerge_jax.typing import Array, Params


def unfold(params: Params, spec: _spec.SymmetrySpec, space: str, *roles: int) -> Array:
    """Return the weights of a space as a matrix `[*over, n, m]`, one row per neuron.

    Row `i` holds, side by side, everything that the network writes to neuron `i`
    (power `+1`: kernels in front of it, bias), reads from it (power `-1`) or keeps
    for it (power `0`). A permutation of the space permutes the rows; inner products of
    the rows of two networks are the similarity that weight matching maximises.

    Args:
      params: parameters of one network.
      spec: names the axes.
      space: name of the space, with `n` neurons.
      *roles: the uses to include, of `+1`, `0` and `-1`; `m` is 0 if there are none.
    """
    matrices = unfold_uses(params, spec, space, *roles)
    if not matrices:
        sizes = spec.sizes(params)
        over = [sizes[name] for name in spec.space(space).over]
        zeros = programs.namespace(params).zeros
        return zeros((*over, sizes[space], 0), np.float32)
    return programs.namespace(matrices).concatenate(matrices, axis=-1)


def unfold_uses(
    params: Params, spec: _spec.SymmetrySpec, space: str, *roles: int
) -> list[Array]:
    """Return the columns of `unfold` by use of the space, `[*over, n, m]` each.

    Args:
      params: parameters of one network.
      spec: names the axes.
      space: name of the space, with `n` neurons.
      *roles: the uses to include, one matrix for each.
    """
    rank = 1 + len(spec.space(space).over)
    return [
        leaf.reshape(*leaf.shape[:rank], -1)
        for leaf, _ in blocks(params, spec, space, *roles)
    ]


def blocks(
    params: Params, spec: _spec.SymmetrySpec, space: str, *roles: int
) -> list[tuple[Array, list[_axes.Axis | None]]]:
    """Return, per use of a space, its parameter as `[*over, n, ...]`; the other axes.

    Args:
      params: parameters of one network.
      spec: names the axes.
      space: name of the space, or of one that follows another.
      *roles: the uses to include, by the sign of the exponent.
    """
    view = _atoms.atoms_of(spec, params)
    spec = view.spec
    leaves = _tree.flatten(view.view(params))
    axes_of = dict(spec.atomic_axes)
    over = spec.space(space).over
    found = []
    for path, number, axis in spec.uses(space, *roles):
        places = [None if a is None else a.space for a in axes_of[path]]
        first = [*(places.index(name) for name in over), number]
        rest = [a for i, a in enumerate(axes_of[path]) if i not in first]
        leaf = leaves[path]
        leaf = programs.namespace(leaf).moveaxis(leaf, first, range(len(first)))
        if axis.repeat > 1:
            *lead, length = leaf.shape[: len(first)]
            shape = (*lead, axis.repeat, length // axis.repeat)
            leaf = leaf.reshape(*shape, *leaf.shape[len(first) :])
            leaf = leaf.swapaxes(len(lead), len(lead) + 1)
            rest = [None, *rest]
        found.append((leaf, rest))
    return found
