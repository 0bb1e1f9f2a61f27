"""A part of a network: some of its parameters, with their share of the symmetry.

A step of a solver compares the parameters of one space. Moving all others for it would
be compiled in vain, once for each space.
"""

import dataclasses
import functools

from symmerge_jax.symmetry import _element, _spec, _tree
from symmerge_jax.typing import Params, Path


@functools.lru_cache(maxsize=1024)
def part_of(spec: _spec.SymmetrySpec, paths: frozenset[Path]) -> _spec.SymmetrySpec:
    """Return the spec of some of the parameters; phases of sines are left out.

    Args:
      spec: symmetry of the atoms of a network.
      paths: of the parameters; at least one has a space.
    """
    axes = tuple((path, axes) for path, axes in spec.atomic_axes if path in paths)
    found = [axis for _, own in axes for axis in own if axis is not None]
    names = {name for axis in found for name in (axis.space, *dict(axis.also))}
    return dataclasses.replace(
        spec,
        axes=axes,
        spaces=tuple(
            dataclasses.replace(space, frequency=None)
            for space in spec.spaces
            if space.name in names
        ),
        statistics=tuple(path for path in spec.statistics if path in paths),
    )


def take_part(params: Params, spec: _spec.SymmetrySpec) -> Params:
    """Return the parameters of a spec, as a nested dict.

    Args:
      params: a network that has them, and others.
      spec: names the parameters.
    """
    leaves = _tree.flatten(params)
    return _tree.unflatten(
        {path: leaves[path] for path in spec.paths if path in leaves}
    )


def within(
    element: _element.GroupElement, spec: _spec.SymmetrySpec
) -> _element.GroupElement:
    """Return the monomials of an element on the spaces of a spec.

    Args:
      element: may move other spaces, too.
      spec: names the spaces.
    """
    names = {space.name for space in spec.spaces}
    return {name: monomial for name, monomial in element.items() if name in names}
