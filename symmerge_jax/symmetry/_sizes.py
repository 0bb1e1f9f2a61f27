"""How many neurons every space has, read off the shapes of the parameters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symmerge_jax.symmetry import _tree
from symmerge_jax.symmetry._axes import Axis, Blocks, axes_in, length_of
from symmerge_jax.typing import Path

if TYPE_CHECKING:
    from symmerge_jax.symmetry._spec import SymmetrySpec


def sizes_of(
    spec: "SymmetrySpec", leaves: Mapping[Path, Any], num_batch_axes: int
) -> dict[str, int]:
    """Return the number of neurons of every space, checking the leaves on the way.

    Plain axes tell the size of their space; a space that stands in blocks only has the
    size that it was given.
    """
    # What is no parameter may be missing in the spec: it is carried along.
    paths = set(spec.paths)
    missing = [path for path, axes in spec.axes if axes and path not in leaves]
    unknown = leaves.keys() - paths
    if missing or any(_tree.is_parameter(leaves[path]) for path in unknown):
        raise mismatch(spec.paths, leaves)
    sizes = {space.name: space.size for space in spec.spaces if space.size}
    origin = dict.fromkeys(sizes, "the space")
    blocks = []
    batch = None
    for path, axes in spec.axes:
        # Nothing is expected of None, nor of counters: they have no batch axes.
        if not any(axes) and not _tree.is_parameter(leaves.get(path)):
            continue
        where, shape = _tree.name(path), np.shape(leaves[path])
        if len(shape) != len(axes) + num_batch_axes:
            raise ValueError(
                f"Parameter '{where}' has shape {shape}, but the spec describes"
                f" {len(axes)} axes behind {num_batch_axes} batch axes."
            )
        if batch is None:
            batch = shape[:num_batch_axes]
        if shape[:num_batch_axes] != batch:
            raise ValueError(
                f"Parameter '{where}' has batch axes {shape[:num_batch_axes]},"
                f" others have {batch}."
            )
        for length, axis in zip(shape[num_batch_axes:], axes, strict=True):
            if isinstance(axis, Blocks):
                blocks.append((where, length, axis))
            if not isinstance(axis, Axis):
                continue
            size, rest = divmod(length, axis.repeat)
            if rest:
                raise ValueError(
                    f"Parameter '{where}': axis of length {length} over space"
                    f" '{axis.space}' is no multiple of repeat={axis.repeat}."
                )
            if sizes.setdefault(axis.space, size) != size:
                raise ValueError(
                    f"Parameter '{where}' gives space '{axis.space}' {size}"
                    f" neurons, but '{origin[axis.space]}' gives it"
                    f" {sizes[axis.space]}."
                )
            origin.setdefault(axis.space, where)
    for where, length, axis in blocks:
        if unsized := [a.space for a in axes_in((axis,)) if a.space not in sizes]:
            raise ValueError(
                f"Parameter '{where}' does not tell how many neurons space"
                f" '{unsized[0]}' has: write Space('{unsized[0]}', ..., size=...)."
            )
        if length != (expected := length_of(axis, sizes)):
            raise ValueError(
                f"Parameter '{where}': axis of length {length} over {axis}, which has"
                f" {expected} entries."
            )
    for space in spec.spaces:
        if space.follows is not None:
            sizes[space.name] = sizes[space.follows]
    return {space.name: sizes[space.name] for space in spec.spaces}


def mismatch(paths: Sequence[Path], leaves: Mapping[Path, Any]) -> ValueError:
    """Return the error for leaves whose names are not those of the spec."""
    missing = sorted(set(paths) - leaves.keys())
    unknown = sorted(p for p in leaves.keys() - set(paths))
    for path in missing:
        if any(p[: len(path)] == path and len(p) > len(path) for p in unknown):
            return ValueError(
                f"Parameters do not fit the spec: '{_tree.name(path)}' is not an array"
                " but a container; make an array of it (np.asarray)."
            )
    unknown = [_tree.name(p) for p in unknown if _tree.is_parameter(leaves[p])]
    return ValueError(
        f"Parameters do not fit the spec: missing {list(map(_tree.name, missing))},"
        f" unknown {unknown}."
    )
