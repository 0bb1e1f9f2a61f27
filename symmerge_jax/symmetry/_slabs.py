"""Networks on disk, moved piece by piece: none is ever in memory as a whole.

The action permutes and scales each array along its axes, one by one. A slab, some rows
of one axis, of the moved array is therefore read off the same rows of that array, or
off those that are permuted to their places, without the rest of it.
"""

import dataclasses
import functools
import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax.symmetry import _action, _axes, _element, _parts, _spec
from symmerge_jax.typing import Array, Path


class Slab(NamedTuple):
    """The same part of an array of several networks, each moved by an element.

    Attributes:
      path: of the atom.
      spec: of the atom alone.
      place: slices of the axes of the atom.
      arrays: of numpy, one per network: `act(element, network)[path][place]`.
    """

    path: Path
    spec: _spec.SymmetrySpec
    place: tuple[slice, ...]
    arrays: tuple[np.ndarray, ...]


def slabs(
    networks: Sequence[Mapping[Path, Array]],
    elements: Sequence[_element.GroupElement],
    spec: _spec.SymmetrySpec,
    *,
    whole: Collection[str] = (),
    max_bytes: int,
) -> Iterator[Slab]:
    """Yield all atoms of some networks, moved, in pieces of at most so many bytes.

    Arrays that are mapped from files are read where they are needed, and their pages
    are given back behind each slab. An array that has no axis to be cut along is one
    slab: each of its axes is `whole`, repeated, or one over which a space lies.

    Args:
      networks: atoms by path.
      elements: one per network; spaces that it omits are not moved.
      spec: symmetry of the atoms.
      whole: spaces along which nothing is cut.
      max_bytes: of each array of a slab, in float32 or its own type, if that is wider.
    """
    elements = [jax.tree.map(np.asarray, element) for element in elements]
    for path, axes in spec.atomic_axes:
        leaves = [network[path] for network in networks]
        part = _part(spec, path)
        own = [_parts.within(element, part) for element in elements]
        for index in _cuts(leaves[0], axes, part, whole, max_bytes):
            arrays = tuple(
                _slab(element, path, leaf, index, part)
                for element, leaf in zip(own, leaves, strict=True)
            )
            yield Slab(path, part, index, arrays)
            del arrays
            for leaf in leaves:
                give_back(leaf)


@functools.lru_cache(maxsize=1024)
def _part(spec: _spec.SymmetrySpec, path: Path) -> _spec.SymmetrySpec:
    """Return the spec of one atom, and of any rows of it."""
    part = _parts.part_of(spec, frozenset([path]))
    spaces = tuple(dataclasses.replace(space, size=None) for space in part.spaces)
    return dataclasses.replace(part, spaces=spaces)


def _cuts(
    leaf: Any, axes: Sequence[_axes.Axis | None], spec, whole, max_bytes: int
) -> Iterator[tuple[slice, ...]]:
    """Yield the slices of an atom that make its slabs."""
    everything = (slice(None),) * len(axes)
    size = leaf.size * max(leaf.dtype.itemsize, 4)
    able = [i for i in range(len(axes)) if _can_be_cut(i, axes, spec, whole)]
    if size <= max_bytes or not able:
        yield everything
        return
    # Rows of the first axes lie together in a file.
    fine = [i for i in able if size <= max_bytes * leaf.shape[i]]
    number = fine[0] if fine else max(able, key=lambda i: leaf.shape[i])
    length = leaf.shape[number]
    step = max(1, int(max_bytes * length // size))
    for start in range(0, length, step):
        cut = slice(start, min(start + step, length))
        yield (*everything[:number], cut, *everything[number + 1 :])


def _can_be_cut(number: int, axes, spec: _spec.SymmetrySpec, whole) -> bool:
    """Return whether rows of an axis can be moved without the others."""
    axis = axes[number]
    if axis is None:
        return True
    own = [axis.space, *dict(axis.also)]
    beside = [
        name
        for i, other in enumerate(axes)
        if i != number and other is not None
        for name in (other.space, *dict(other.also))
    ]
    return (
        axis.repeat == 1
        and not {*own} & {*whole}
        and axis.space not in beside
        and not any(axis.space in spec.space(name).over for name in beside)
        and not any(spec.space(name).over for name in own)
    )


def _slab(element, path, leaf, index, spec) -> np.ndarray:
    """Return the slab of a moved atom."""
    leaf = np.asarray(leaf)
    for number, cut in enumerate(index):
        if cut == slice(None):
            continue
        axis = dict(spec.atomic_axes)[path][number]
        if axis is None or axis.space not in element:
            leaf = leaf[(*(slice(None),) * number, cut)]
        else:
            leaf = np.take(leaf, element[axis.space].perm[cut], axis=number)
        names = () if axis is None else (axis.space, *dict(axis.also))
        rows = np.arange(leaf.shape[number])
        element = element | {
            name: _element.Monomial(rows, element[name].scale[cut])
            for name in names
            if name in element
        }
    with np.errstate(over="ignore"):
        return np.asarray(_action.act_on_atom(element, path, leaf, spec))


def give_back(leaf: Any) -> None:
    """Give the memory of an array back that is a view of a file, read-only.

    Its pages are read again when they are needed.

    Args:
      leaf: any array.
    """
    if not isinstance(leaf, np.ndarray) or leaf.flags.writeable:
        return
    base: Any = leaf
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
