"""Matrices of all weights that belong to the neurons of one space."""

import functools

import numpy as np

from symmerge_jax import programs
from symmerge_jax.symmetry import _atoms, _axes, _spec, _tree
from symmerge_jax.typing import Array, Params

BLOCK = 4096
"""Squares that are added one after the other: more would lose digits in float32."""


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


def norms(params: Params, spec: _spec.SymmetrySpec, space: str, role: int) -> Array:
    """Return the norms `[*over, n]` of the rows of `unfold`."""
    uses = unfold_uses(params, spec, space, role)
    if not uses:
        return norm(unfold(params, spec, space, role))
    return functools.reduce(programs.namespace(uses).hypot, map(norm, uses))


def norm(rows: Array) -> Array:
    """Return the norm `[..., n]` of each row, safe from overflow and underflow."""
    numbers = programs.namespace(rows)
    if numbers is np and rows.dtype in (np.float32, np.float64):
        starts = range(0, rows.shape[-1] or 1, BLOCK)
        parts = (rows[..., start : start + BLOCK] for start in starts)
        squares = [np.einsum("...i,...i->...", x, x) for x in parts]
        found = np.sqrt(np.sum(squares, axis=0, dtype=float)).astype(rows.dtype)
        info = np.finfo(rows.dtype)
        if ((found > info.tiny**0.25) & (found < info.max**0.25)).all():
            return found
    largest = abs(rows).max(axis=-1, initial=0)
    safe = numbers.where(largest > 0, largest, 1)
    return largest * numbers.sqrt(((rows / safe[..., None]) ** 2).sum(axis=-1))
