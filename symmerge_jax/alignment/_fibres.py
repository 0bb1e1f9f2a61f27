"""Spaces that others lie over: heads with their dimensions, experts with their units.

Two heads are as alike as their dimensions can be made: to pair the heads, the
dimensions of every head of one network are matched with those of every head of the
other, all at once. The assignment problem of the heads then counts each pair with the
best that its dimensions can do, and both are solved together.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _projection, _similarity, _units
from symmerge_jax.typing import Array, Params, Path


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
    units = units or _similarity.units_of(params_a, moved_b, spec, space.name)
    pieces = [(spec, params_a, moved_b)]
    products = compare(pieces, spec, space, units, rescale=rescale)
    return choose(products, spec, space, permute=permute, rescale=rescale, where=where)


class Products(NamedTuple):
    """How alike the neurons of a space are, and of what lies over each two of them.

    Attributes:
      turned: `[*over, n, n]` without what lies over the neurons, `_similarity.compare`.
      kept: the same.
      fibres: by the sign of all neurons of `b`, by the space over them, `m` neurons
        each: `[*over, n, n, m, m]` that a sign of these turns, and what it leaves.
    """

    turned: Array | None
    kept: Array | None
    fibres: Mapping[int, Mapping[str, tuple[Array | None, Array | None]]]


def compare(
    pieces: Iterable[_similarity.Piece],
    spec: symmetry.SymmetrySpec,
    space: symmetry.Space,
    units: _units.Pair,
    *,
    rescale: bool,
    without: frozenset[Path] = frozenset(),
) -> Products:
    """Compare two networks piece by piece, see `best_monomials`."""
    inner = fibres(spec, space)
    names = [s.name for s in inner]
    crowded = _paths_with(spec, names, at_least=1) | without
    several = _paths_with(spec, names, at_least=2) | without
    is_signed = rescale and space.group is symmetry.Group.SIGN
    both = is_signed and any(s.group is not symmetry.Group.SIGN for s in inner)
    turned = kept = None
    total: dict[int, dict[str, Any]] = {
        sign: dict.fromkeys(names, (None, None)) for sign in ((1, -1) if both else (1,))
    }
    for part, a, b in pieces:
        products = _similarity.compare(a, b, part, space.name, units, crowded)
        turned, kept = map(_similarity.plus, (turned, kept), products)
        for sign, by_name in total.items():
            for name in set(names) & {s.name for s in part.spaces}:
                turn = {space.name: sign}
                more = _products(part, a, b, name, units, several, turn)
                by_name[name] = tuple(map(_similarity.plus, by_name[name], more))
    return Products(turned, kept, total)


def choose(
    products: Products,
    spec: symmetry.SymmetrySpec,
    space: symmetry.Space,
    *,
    permute: bool,
    rescale: bool,
    where: Array | bool = True,
) -> symmetry.GroupElement:
    """Return the best monomials of a space and of its fibres, see `best_monomials`."""
    turned, kept, by_sign = products
    assert turned is not None
    numbers = programs.namespace(turned)
    options: dict[str, Any] = dict(rescale=rescale, where=where)
    own = permute and space.is_permuted
    best = {
        sign: _pair_fibres(found, spec, space, permute=permute, **options)
        for sign, found in by_sign.items()
    }
    pairs, value = best[1]
    turned_pairs, turned_value = best.get(-1, ({}, None))
    if value is not None and turned_value is not None:
        # The sign of a neuron turns its fibre: each pair takes the better of two.
        is_turned = turned_value - turned > value + turned
        gains = numbers.where(is_turned, turned_value - turned, value + turned)
        gains = gains if kept is None else gains + kept
        outer = _projection.project(
            gains.astype(turned.dtype),
            symmetry.Group.PERMUTATION,
            permute=own,
            **options,
        )
        index = outer.perm[..., None]
        chosen = numbers.take_along_axis(is_turned, index, axis=-1)[..., 0]
        scale = numbers.where(chosen, -outer.scale, outer.scale)
        outer = outer._replace(scale=scale)
        pairs = jax.tree.map(
            lambda minus, plus: numbers.where(is_turned[..., None], minus, plus),
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
            lambda x, index=index: numbers.take_along_axis(x, index, axis=-2)[
                ..., 0, :
            ],
            best,
        )
    return element


def _pair_fibres(
    products, spec, space, *, permute, **options
) -> tuple[symmetry.GroupElement, Any]:
    """Return the best monomials of the fibres of every pair of neurons, and their gain.

    The neurons of `b` have all one sign. The gain is None if no fibre tells anything.
    """
    pairs, total = {}, None
    for fibre in fibres(spec, space):
        signed, unsigned = products[fibre.name]
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


def _products(spec, params_a, moved_b, fibre, units, without, turn):
    """Return the inner products of a fibre of every pair of neurons, turned and kept.

    Each `[*over, n, n, m, m]`, or None.
    """
    a, b = (
        _side_by_side(_rows(params, spec, fibre, without, signs), unit)
        for params, signs, unit in zip(
            (params_a, moved_b), ({}, turn), units, strict=True
        )
    )
    return [
        None if x is None or y is None else _all_pairs(x, y)
        for x, y in zip(a, b, strict=True)
    ]


def _all_pairs(x: Array, y: Array) -> Array:
    """Return `[..., i, j, k, l]` inner products of rows `[i, k, m]` and `[j, l, m]`."""
    (*over, i, k, m), (j, ell) = x.shape, y.shape[-3:-1]
    product = x.reshape(*over, i * k, m) @ y.reshape(*over, j * ell, m).swapaxes(-1, -2)
    return product.reshape(*over, i, k, j, ell).swapaxes(-3, -2)


def _rows(params, spec, fibre, without, turn):
    """Return the rows of a fibre, turned and kept, each with its weight in matching.

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
        rows = _similarity.rows(params, spec, fibre, roles, without=without)
        paths = [path for path, _, _ in spec.uses(fibre, *roles)]
        paths = [p for p in paths if spec.match_weight(p) and p not in without]
        found.append(
            [
                (weight, x * signs[path] if path in signs else x)
                for path, (weight, x) in zip(paths, rows, strict=True)
            ]
        )
    return found


def _side_by_side(kinds, unit: Array) -> list[Array | None]:
    """Return the weighted rows of each kind in one array, `[*over, n, m]`, or None."""
    together: list[Array | None] = []
    for uses in kinds:
        # Weights count in the product of both networks, so each gives their root.
        scaled = [x * (weight**0.5 * unit) for weight, x in uses]
        concatenate = programs.namespace(scaled).concatenate
        together.append(concatenate(scaled, -1) if scaled else None)
    return together


def _paths_with(spec, names, at_least: int) -> frozenset:
    """Return the parameters with at least so many of these spaces."""
    return frozenset(
        path
        for path, axes in spec.atomic_axes
        if len({a.space for a in axes if a is not None} & set(names)) >= at_least
    )
