"""Arrays viewed as atoms: every axis of every array over one space, or over none.

An array axis may hold several spaces: pieces side by side (a concatenation), products
(heads times their dimensions). `view_as_atoms` splits and reshapes such arrays until
each axis has one space at most; nothing is computed, and `undo` puts the pieces back.
Everything else in the library is written for atoms.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np

from symmerge_jax import programs
from symmerge_jax.symmetry import _axes, _spec, _tree
from symmerge_jax.typing import Array, Params, Path

_Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class AtomicView:
    """How the parameters of a spec are taken apart into atoms and put together.

    Attributes:
      given: the spec of the parameters.
      spec: the spec of the atoms: no `Blocks`; a parameter in one piece keeps its path,
        pieces of one have a number behind it.
      sizes: number of neurons per space, for the pieces.
    """

    given: _spec.SymmetrySpec
    spec: _spec.SymmetrySpec
    sizes: tuple[tuple[str, int], ...]

    def view(self, params: Params, num_batch_axes: int = 0) -> Params:
        """Return the atoms of a network as a nested dict; plain ones as they are.

        Args:
          params: parameters of one network, or a batch.
          num_batch_axes: leading axes of each array.
        """
        if self.spec is self.given:
            return params
        leaves = _tree.flatten(params)
        sizes, atoms = dict(self.sizes), {}
        for path, axes in self.given.axes:
            if (leaf := leaves.get(path)) is None:
                continue
            shape = np.shape(leaf)[num_batch_axes:]
            found = list(_take_apart(leaf, axes, shape, sizes, num_batch_axes))
            for name, (piece, _) in zip(_names(path, len(found)), found, strict=True):
                atoms[name] = piece
        return _tree.unflatten(atoms)

    def undo(self, atoms: Params, params: Params, num_batch_axes: int = 0) -> Params:
        """Return a network like `params` with these atoms.

        Args:
          atoms: what `view` returned, changed or not.
          params: gives the containers, the shapes and what is not viewed.
          num_batch_axes: leading axes of each array.
        """
        if self.spec is self.given:
            return atoms
        leaves, found = _tree.flatten(atoms), {}
        old, sizes = _tree.flatten(params), dict(self.sizes)
        for path, axes in self.given.axes:
            if (leaf := old.get(path)) is None:
                continue
            shape = np.shape(leaf)[num_batch_axes:]
            names = _names(path, len(list(_take_apart(None, axes, shape, sizes, 0))))
            pieces = iter([leaves[name] for name in names])
            found[path] = _put_together(pieces, axes, shape, sizes, num_batch_axes)
        return _tree.rebuild(params, found)


def atoms_of(spec: _spec.SymmetrySpec, params: Params) -> AtomicView:
    """Return how the parameters of one network are viewed as atoms.

    Args:
      spec: symmetry of the architecture.
      params: parameters of one network or a batch, or anything with their shapes.

    Raises:
      ValueError: if `params` does not fit `spec`.
    """
    if not spec.has_blocks:
        return AtomicView(spec, spec, ())
    rank = len(spec.batch_shape(params))
    leaves = _tree.flatten(params)
    shapes = tuple(
        (path, tuple(np.shape(leaves[path])[rank:]))
        for path, _ in spec.axes
        if leaves.get(path) is not None
    )
    return _view_of(spec, shapes, tuple(spec.sizes(params, rank).items()))


@functools.lru_cache(maxsize=64)
def _view_of(
    spec: _spec.SymmetrySpec,
    shapes: tuple[tuple[Path, _Shape], ...],
    sizes: tuple[tuple[str, int], ...],
) -> AtomicView:
    axes_of, found, statistics = dict(spec.axes), [], []
    for path, shape in shapes:
        pieces = [
            axes for _, axes in _take_apart(None, axes_of[path], shape, dict(sizes), 0)
        ]
        names = _names(path, len(pieces))
        found += zip(names, pieces, strict=True)
        if path in spec.statistics:
            statistics += names
    atomic = dataclasses.replace(spec, axes=tuple(found), statistics=tuple(statistics))
    return AtomicView(spec, atomic, sizes)


def _take_apart(
    array: Array | None,
    axes: _spec.LeafAxes,
    shape: _Shape,
    sizes: Mapping[str, int],
    num_batch_axes: int,
) -> Iterator[tuple[Array | None, _spec.LeafAxes]]:
    """Yield the pieces of an array with their axes; without an array the axes alone."""
    number, blocks = _first_blocks(axes)
    if blocks is None:
        yield array, axes
        return
    before, behind = axes[:number], axes[number + 1 :]
    if len(blocks.pieces) == 1:
        factors, lengths = _factors(blocks, sizes)
        shape = (*shape[:number], *lengths, *shape[number + 1 :])
        if array is not None:
            array = array.reshape(array.shape[:num_batch_axes] + shape)
        axes = (*before, *factors, *behind)
        yield from _take_apart(array, axes, shape, sizes, num_batch_axes)
        return
    start = 0
    for piece in map(_axes.Blocks, zip(blocks.pieces)):
        length = _axes.length_of(piece, sizes)
        part = array
        if array is not None:
            index = (slice(None),) * (num_batch_axes + number)
            part = array[(*index, slice(start, start + length))]
        start += length
        piece_shape = (*shape[:number], length, *shape[number + 1 :])
        yield from _take_apart(
            part, (*before, piece, *behind), piece_shape, sizes, num_batch_axes
        )


def _put_together(
    pieces: Iterator[Array],
    axes: _spec.LeafAxes,
    shape: _Shape,
    sizes: Mapping[str, int],
    num_batch_axes: int,
) -> Array:
    """Return the array that `_take_apart` took apart."""
    number, blocks = _first_blocks(axes)
    if blocks is None:
        return next(pieces)
    before, behind = axes[:number], axes[number + 1 :]
    if len(blocks.pieces) == 1:
        factors, lengths = _factors(blocks, sizes)
        inner = (*shape[:number], *lengths, *shape[number + 1 :])
        axes = (*before, *factors, *behind)
        array = _put_together(pieces, axes, inner, sizes, num_batch_axes)
        return array.reshape(array.shape[:num_batch_axes] + shape)
    parts = []
    for piece in map(_axes.Blocks, zip(blocks.pieces)):
        length = _axes.length_of(piece, sizes)
        piece_shape = (*shape[:number], length, *shape[number + 1 :])
        layout = (*before, piece, *behind)
        parts.append(_put_together(pieces, layout, piece_shape, sizes, num_batch_axes))
    concatenate = programs.namespace(parts).concatenate
    return concatenate(parts, axis=num_batch_axes + number)


def _first_blocks(axes: _spec.LeafAxes) -> tuple[int, _axes.Blocks | None]:
    for number, axis in enumerate(axes):
        if isinstance(axis, _axes.Blocks):
            return number, axis
    return 0, None


def _factors(blocks: _axes.Blocks, sizes: Mapping[str, int]):
    """Return what the axes of a product run over, and their lengths."""
    [factors] = blocks.pieces
    lengths = [_axes.length_of(factor, sizes) for factor in factors]
    return [None if isinstance(f, int) else f for f in factors], lengths


def _names(path: Path, count: int) -> list[Path]:
    """Return the paths of the pieces of one array."""
    return [path] if count == 1 else [(*path, f"piece_{i}") for i in range(count)]
