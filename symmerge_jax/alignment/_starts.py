"""Elements from which a local search starts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.alignment import _fibres, _frame, _similarity
from symmerge_jax.typing import Array, Key, Params, Path

NAMES = ("outward", "identity")
"""Starts that need no random key."""


class Start(NamedTuple):
    """Where a search begins, and the distance `[]` of the networks there."""

    element: symmetry.GroupElement
    distance: Array


def identity(
    params: Params, spec: symmetry.SymmetrySpec, numbers: Any = jnp
) -> symmetry.GroupElement:
    """Return the element that moves nothing, on every movable space."""
    dtype = jnp.result_type(*jax.tree.leaves(params))
    shapes = symmetry.element_shapes(spec, spec.sizes(params))
    shapes = {s.name: shapes[s.name] for s in spec.matched_spaces}
    still = symmetry.identity(shapes, dtype, numbers)
    return {
        name: symmetry.Monomial(perm.astype(np.int32), scale)
        for name, (perm, scale) in still.items()
    }


def outward(
    pair: _frame.Pair, *, permute: bool = True, rescale: bool = True
) -> symmetry.GroupElement:
    """Match space by space from the inputs on, by weights whose other ends are fixed.

    Inputs and outputs are the same neurons in both networks, so the first hidden space
    can be matched by what it reads from the inputs alone, the next one by what it reads
    from the first, and so on; weights to spaces that are not matched yet do not count.
    Unlike the identity, this start does not depend on the order in which the neurons
    of either network happen to be stored, and it finds every element exactly when the
    networks are twins (up to equal neurons).
    """
    spec = pair.spec
    element = identity(pair.shapes, spec, pair.numbers)
    fixed = {s.name for s in spec.spaces} - element.keys()
    for space in spec.matched_spaces:
        pair.report(space.name)
        if space.name in fixed:
            continue
        together = {space.name, *(s.name for s in _fibres.fibres(spec, space))}
        near = _similarity.around(spec, *together)
        others = symmetry.within(element, near)
        others = {name: g for name, g in others.items() if name not in together}
        fixed = fixed | together
        without = _loose(near, fixed)
        if len(without) == len(near.axes):
            continue  # nothing tells its neurons apart yet
        units = pair.units(space.name, without)
        pieces = pair.pieces(
            near, pair.part(near), others, whole=together, without=without
        )
        products = _fibres.compare(
            pieces, near, space, units, rescale=rescale, without=without
        )
        element |= _fibres.choose(
            products, near, space, permute=permute, rescale=rescale
        )
    return element


def nearest(
    pair: _frame.Pair, elements: list[symmetry.GroupElement], unit: Array
) -> Start:
    """Return the element that brings the two networks nearest, as a start."""
    spec, numbers = pair.spec, pair.numbers
    starts = [Start(x, _frame.distance(pair, x, spec, unit)) for x in elements]
    if len(starts) == 1:
        return starts[0]
    stacked = jax.tree.map(lambda *leaves: numbers.stack(leaves), *starts)
    start = symmetry.rows(stacked, stacked.distance.argmin())
    return jax.tree.map(numbers.asarray, start)


def random(
    key: Key,
    pair: _frame.Pair,
    *,
    permute: bool = True,
    rescale: bool = True,
) -> symmetry.GroupElement:
    """Return uniformly random permutations and signs; positive scales stay one."""
    spec = pair.spec
    element = identity(pair.shapes, spec, pair.numbers)
    drawn = symmetry.sample(
        key, spec, spec.sizes(pair.shapes), permute=permute, rescale=rescale
    )
    for name in element:
        ones = element[name].scale
        perm, scale = map(pair.numbers.asarray, drawn[name])
        signed = spec.space(name).group is symmetry.Group.SIGN
        element[name] = symmetry.Monomial(
            perm.astype(np.int32), scale.astype(ones.dtype) if signed else ones
        )
    return element


def _loose(spec: symmetry.SymmetrySpec, spaces: set[str]) -> frozenset[Path]:
    """Return the parameters that touch any other space, or that do not count."""
    found = set()
    for path, axes in spec.atomic_axes:
        names = [axis.space for axis in axes if axis is not None]
        own = [name for name in names if names.count(name) > 1]
        # What a space reads of itself comes later.
        if not set(names) <= spaces or own or not spec.match_weight(path):
            found.add(path)
    return frozenset(found)
