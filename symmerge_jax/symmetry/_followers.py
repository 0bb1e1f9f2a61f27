"""Signs that neurons have beside their own, such as those of a norm in a stream."""

import functools
import math

import jax

from symmerge_jax import programs
from symmerge_jax.symmetry import (
    _action,
    _atoms,
    _axes,
    _element,
    _parts,
    _spec,
    _tree,
    _unfold,
)
from symmerge_jax.typing import Array, Params, Path


def follower_signs(
    params: Params,
    spec: _spec.SymmetrySpec,
    element: _element.GroupElement | None = None,
) -> _element.GroupElement:
    """Return the signs that make further signed weights of neurons positive.

    Of every space with signs that follows another: the largest weight of each neuron in
    the use that the fewest signs turn which are not fixed yet, such as the scales of a
    norm. Where no other sign turns it, what comes out is one for all twins.

    Args:
      params: parameters of one network.
      spec: symmetry of the architecture.
      element: moves the network before; None for the network as it is.
    """
    view = _atoms.atoms_of(spec, params)
    atoms, spec = view.view(params), view.spec
    signs = [s for s in spec.movable_spaces if s.group is _axes.Group.SIGN]
    left = {s.name for s in signs if s.follows is not None}
    unknown = {s.name for s in signs}
    leaves = _tree.flatten(atoms)
    shapes = _element.element_shapes(spec, spec.sizes(atoms)) if left else {}
    uses = {name: list(spec.uses(name, 1, -1)) for name in left}
    turning = {path: _signs(spec, path) for path in spec.paths} if left else {}
    element = {} if element is None else element
    found: _element.GroupElement = {}
    while left:
        _, _, name, number = min(
            (
                len(turning[path] & unknown - {name}),
                leaves[path].size // math.prod(shapes[name]),
                *(name, number),
            )
            for name in left
            for number, (path, _, _) in enumerate(uses[name])
        )
        # One array is moved, and no other is looked at.
        path = uses[name][number][0]
        part = _parts.part_of(spec, frozenset([path]))
        turned, before = (_parts.within(x, part) for x in (found, element))
        own = _element.compose(turned, before, part)
        moved = _action.act(own, _tree.unflatten({path: leaves[path]}), part)
        uses_before = sum(use[0] == path for use in uses[name][:number])
        rows = _unfold.unfold_uses(moved, part, name, 1, -1)[uses_before]
        sign = leading_sign(spec.space(name), rows)
        left.remove(name)
        unknown.remove(name)
        numbers = programs.namespace(sign)
        still = _element.identity({name: sign.shape}, sign.dtype, numbers)[name]
        found[name] = still._replace(scale=sign)
    return found


def leading_sign(space: _axes.Space, rows: Array) -> Array:
    """Return the sign `[..., n]` of each row's largest entry; +1 for zero rows."""
    numbers = programs.namespace(rows)
    if space.group is not _axes.Group.SIGN or rows.shape[-1] == 0:
        return numbers.ones(rows.shape[:-1], rows.dtype)
    largest = abs(rows).argmax(axis=-1)
    value = numbers.take_along_axis(rows, largest[..., None], axis=-1)[..., 0]
    return numbers.where(value < 0, -1, 1).astype(rows.dtype)


def for_each(rank: int, function, *fixed):
    """Return a function of rows `[n, m]` for arrays with `rank` more axes before."""
    function = functools.partial(function, *fixed)
    for _ in range(rank):
        function = jax.vmap(function)
    return function


def _signs(spec: _spec.SymmetrySpec, path: Path) -> set[str]:
    """Return the spaces that turn signs of a parameter."""
    axes = _axes.axes_in(dict(spec.axes)[path])
    return {
        name
        for axis in axes
        for name, power in ((axis.space, axis.power), *axis.also)
        if power and spec.space(name).group is _axes.Group.SIGN
    }
