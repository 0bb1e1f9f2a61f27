"""Spaces that others lie over: heads with their dimensions, experts with their units.

Two heads are as alike as their dimensions can be made: to pair the heads, the
dimensions of every head of one network are matched with those of every head of the
other, all at once. The assignment problem of the heads then counts each pair with the
best that its dimensions can do, and both are solved together.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _projection, _similarity, _units
from symmerge_jax.typing import Array, Params


def fibres(
    spec: symmetry.SymmetrySpec, space: symmetry.Space
) -> tuple[symmetry.Space, ...]:
    """Return the spaces directly over a space that moves, whose neurons go with it."""
    over = [s for s in spec.matched_spaces if space.name in s.over]
    return tuple(s for s in over if s.over[-1] == space.name)


def best_monomials(
    params_a: Params,
    moved_b: Params,
    spec: symmetry.SymmetrySpec,
    space: symmetry.Space,
    units: _units.Pair | None = None,
    *,
    permute: bool = True,
    rescale: bool = True,
    where: Array | bool = True,
) -> symmetry.GroupElement:
    """Return the monomials of a space and of its fibres that fit together best.

    Exact for uses of the space that hold one fibre at most. What two fibres share (the
    values of queries in a group of heads) does not tell how alike two neurons are.

    Args:
      params_a: the network that stays.
      moved_b: the network that moves, all other spaces being aligned.
      spec: symmetry of both.
      space: the space; it may have no fibres.
      units: of the rows, None for `units_of` the networks.
      permute: allow permutations.
      rescale: allow signs.
      where: `[]` whether the result is of interest.
    """
    inner = fibres(spec, space)
    options: dict[str, Any] = dict(rescale=rescale, where=where)
    own = permute and space.is_permuted
    crowded = _paths_with(spec, [s.name for s in inner], at_least=1)
    turned, kept = _similarity.compare(
        params_a, moved_b, spec, space.name, units, without=crowded
    )
    if not inner:
        found = _projection.project(
            turned, space.group, unsigned=kept, permute=own, **options
        )
        return {space.name: found}
    pair = functools.partial(
        _pair_fibres, params_a, moved_b, spec, space, units, permute=permute, **options
    )
    pairs, value = pair(1)
    is_signed = rescale and space.group is symmetry.Group.SIGN
    turned_pairs, turned_value = {}, None
    if is_signed and any(s.group is not symmetry.Group.SIGN for s in inner):
        turned_pairs, turned_value = pair(-1)
    if value is not None and turned_value is not None:
        # The sign of a neuron turns its fibre: each pair takes the better of two.
        is_turned = turned_value - turned > value + turned
        gains = jnp.where(is_turned, turned_value - turned, value + turned)
        gains = gains if kept is None else gains + kept
        outer = _projection.project(
            gains.astype(turned.dtype),
            symmetry.Group.PERMUTATION,
            permute=own,
            **options,
        )
        index = outer.perm[..., None]
        chosen = jnp.take_along_axis(is_turned, index, axis=-1)[..., 0]
        scale = jnp.where(chosen, -outer.scale, outer.scale)
        outer = outer._replace(scale=scale)
        pairs = jax.tree.map(
            lambda minus, plus: jnp.where(is_turned[..., None], minus, plus),
            turned_pairs,
            pairs,
        )
    else:
        if value is not None:
            value = value.astype(turned.dtype)
            kept = value if kept is None else kept + value
        outer = _projection.project(
            turned, space.group, unsigned=kept, permute=own, **options
        )
    element = {space.name: outer}
    for name, best in pairs.items():
        index = outer.perm[..., None, None]
        element[name] = jax.tree.map(
            lambda x, index=index: jnp.take_along_axis(x, index, axis=-2)[..., 0, :],
            best,
        )
    return element


def _pair_fibres(
    params_a, moved_b, spec, space, units, sign, *, permute, **options
) -> tuple[symmetry.GroupElement, Any]:
    """Return the best monomials of the fibres of every pair of neurons, and their gain.

    The neurons of `b` have all one sign. The gain is None if no fibre tells anything.
    """
    inner = fibres(spec, space)
    several = _paths_with(spec, [s.name for s in inner], at_least=2)
    pairs, total = {}, None
    for fibre in inner:
        a, b = (
            _side_by_side(_rows(params, spec, fibre, units, several, turn), side)
            for side, (params, turn) in enumerate(
                ((params_a, {}), (moved_b, {space.name: sign}))
            )
        )
        products = [
            None if x is None else jnp.einsum("...ikm,...jlm->...ijkl", x, y)
            for x, y in zip(a, b, strict=True)
        ]
        signed, unsigned = products
        if signed is None:
            signed, unsigned = unsigned, None
        if signed is None:
            continue
        best = _projection.project(
            signed,
            fibre.group,
            unsigned=unsigned,
            permute=permute and fibre.is_permuted,
            **options,
        )
        pairs[fibre.name] = best
        value = _projection.gain(signed, best, unsigned)
        total = value if total is None else total + value
    return pairs, total


def _rows(params, spec, fibre, units, without, turn):
    """Return the rows of a fibre, turned and kept, in the unit of each network.

    Parameters that a neuron of another space turns are multiplied by its sign.
    """
    signs = {
        path: sign
        for path, axes in spec.atomic_axes
        for name, sign in turn.items()
        if any(a is not None and a.space == name and a.power % 2 for a in axes)
    }
    found = []
    for roles in ((-1, 1), (0,)):
        rows = _similarity.rows(params, spec, fibre.name, roles, without=without)
        paths = [path for path, _, _ in spec.uses(fibre.name, *roles)]
        paths = [p for p in paths if spec.match_weight(p) and p not in without]
        found.append(
            [
                (weight, x * signs[path] if path in signs else x)
                for path, (weight, x) in zip(paths, rows, strict=True)
            ]
        )
    return found, units


def _side_by_side(found, side: int) -> list[Array | None]:
    """Return the weighted rows of each kind in one array, `[*over, n, m]`, or None."""
    kinds, units = found
    unit = 1 if units is None else units[side]
    together: list[Array | None] = []
    for uses in kinds:
        # Weights count in the product of both networks, so each gives their root.
        scaled = [x * (weight**0.5 * unit) for weight, x in uses]
        together.append(jnp.concatenate(scaled, -1) if scaled else None)
    return together


def _paths_with(spec, names, at_least: int) -> frozenset:
    """Return the parameters with at least so many of these spaces."""
    return frozenset(
        path
        for path, axes in spec.atomic_axes
        if len({a.space for a in axes if a is not None} & set(names)) >= at_least
    )
