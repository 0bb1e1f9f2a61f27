"""How alike the neurons of two networks are, read off their weights."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _units
from symmerge_jax.typing import Array, Params, Path

Piece = tuple[symmetry.SymmetrySpec, Params, Params]
"""Some parameters of two networks, or some rows of one: their spec, those of each."""

BESIDE = " beside itself"
"""Behind the name of a space where it stands on an array a second time, see `apart`."""


def similarity(
    params_a: Params,
    params_b: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    space: str,
) -> Float[Array, "*over n n"]:
    """Return the inner products of the neurons of one space, all others being aligned.

    `C[i, j] = sum_W <row i of W_a, row j of (h.b)_W>` over every parameter `W` that
    writes, reads or keeps the space, with `h` the element without this space; each
    counts with its `spec.match_weight`, statistics by default not at all. For any
    permutation `g` of the space, the terms of `<a, (g h).b>` that depend on `g` are
    `sum_i C[i, g.perm[i]]`: the matrix that Ainsworth et al. 2023 (arXiv 2209.04836,
    eq. 2) hand to the assignment problem, for any architecture. With signs they are
    `sum_i g.scale[i] * C[i, g.perm[i]]`, unless the space is kept somewhere (power 0).

    Args:
      params_a: the network that stays.
      params_b: the network that moves.
      element: monomials of the other spaces; that of `space` is not used.
      spec: symmetry of both.
      space: name of the space, with `n` neurons.

    Returns:
      `[*over, n, n]`, rows for `a`, columns for `b`.
    """
    spec, beside, (params_a, params_b) = apart(spec, space, params_a, params_b)
    if beside is not None and space in element:
        element = {**element, beside: element[space]}
    moved = move_others(element, params_b, spec, space)
    units = units_of(params_a, moved, spec, space)
    products = inner_products(params_a, moved, spec, space, (-1, 0, 1), units)
    return _units.divide(products, *units)


def units_of(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    without: frozenset[Path] = frozenset(),
) -> _units.Pair:
    """Return units in which the rows of a space can be multiplied with each other.

    One for all uses of the space, so that these count as they should. They hold for
    moved networks, too, unless positive scales move them.
    """
    roles = (-1, 0, 1)
    return _units.Pair(
        *(
            _units.unit(*(x for _, x in rows(params, spec, space, roles, without)))
            for params in (params_a, params_b)
        )
    )


def move_others(
    element: symmetry.GroupElement,
    params: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
) -> Params:
    """Return the parameters moved on all spaces but one."""
    others = {name: monomial for name, monomial in element.items() if name != space}
    return symmetry.act(others, params, spec)


def around(spec: symmetry.SymmetrySpec, *spaces: str) -> symmetry.SymmetrySpec:
    """Return the spec of the parameters that have any of these spaces."""
    paths = (path for name in spaces for path, _, _ in spec.uses(name, 1, 0, -1))
    return symmetry.part_of(spec, frozenset(paths))


def apart(
    spec: symmetry.SymmetrySpec, space: str, *networks: Params
) -> tuple[symmetry.SymmetrySpec, str | None, tuple[Params, ...]]:
    """Return networks in which a space stands on each array once.

    An array with the space on two axes, as a recurrent kernel, becomes one array per
    axis: in each the other axis runs over a space beside it, whose name is returned.
    Given the present monomial of the space, it counts as aligned.
    """
    twice = {
        path: [i for i, a in enumerate(axes) if a is not None and a.space == space]
        for path, axes in spec.atomic_axes
    }
    twice = {path: numbers for path, numbers in twice.items() if len(numbers) > 1}
    if not twice:
        return spec, None, networks
    beside = space + BESIDE
    leaves = [symmetry.flatten(params) for params in networks]
    axes_of, statistics = {}, []
    for path, axes in spec.atomic_axes:
        for number in twice.get(path, [None]):
            name = path if number is None else (*path, f"axis_{number}")
            axes_of[name] = tuple(
                dataclasses.replace(axis, space=beside)
                if number is not None and i in set(twice[path]) - {number} and axis
                else axis
                for i, axis in enumerate(axes)
            )
            statistics += [name] if path in spec.statistics else []
            for network in leaves if number is not None else ():
                network[name] = network[path]
        if path in twice:
            for network in leaves:
                del network[path]
    own = spec.space(space)
    spaces = list(spec.spaces)
    spaces.insert(spaces.index(own) + 1, dataclasses.replace(own, name=beside))
    separate = dataclasses.replace(
        spec,
        axes=tuple(axes_of.items()),
        spaces=tuple(spaces),
        statistics=tuple(statistics),
    )
    return separate, beside, tuple(map(symmetry.unflatten, leaves))


def compare(
    params_a: Params,
    moved_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    units: _units.Pair | None = None,
    without: frozenset[Path] = frozenset(),
) -> tuple[Array, Array | None]:
    """Return the inner products `[*over, n, n]` that a sign turns, and those it leaves.

    The latter are of uses with power 0, as of the kernel in front of a BatchNorm; None
    if there are none. Both go into `project`. All rows are in the units given, None for
    `units_of` the networks; parameters `without` do not count.
    """
    units = units or units_of(params_a, moved_b, spec, space)
    pair = params_a, moved_b, spec, space
    turned = inner_products(*pair, (-1, 1), units, without)
    if not rows(params_a, spec, space, (0,), without):
        return turned, None
    return turned, inner_products(*pair, (0,), units, without)


def compare_all(
    pieces: Iterable[Piece],
    space: str,
    units: _units.Pair | None = None,
    without: frozenset[Path] = frozenset(),
) -> tuple[Array | None, Array | None]:
    """Return what `compare` does of all pieces of two networks; None for no piece."""
    turned = kept = None
    for spec, a, b in pieces:
        products = compare(a, b, spec, space, units, without)
        turned, kept = map(plus, (turned, kept), products)
    return turned, kept


def plus(x: Array | None, y: Array | None) -> Array | None:
    """Return the sum of two arrays, of which None is zero; in place by numpy."""
    if x is None or y is None:
        return y if x is None else x
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        x += y
        return x
    return x + y


def rows(
    params: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    roles: tuple[int, ...],
    without: frozenset[Path] = frozenset(),
) -> list[tuple[float, Array]]:
    """Return weight in matching and rows `[*over, n, m]` of each use with a weight."""
    uses = [path for path, _, _ in spec.uses(space, *roles)]
    matrices = symmetry.unfold_uses(params, spec, space, *roles)
    return [
        (spec.match_weight(path), x)
        for path, x in zip(uses, matrices, strict=True)
        if spec.match_weight(path) and path not in without
    ]


def inner_products(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    roles: tuple[int, ...],
    units: _units.Pair,
    without: frozenset[Path] = frozenset(),
) -> Array:
    """Return `[*over, n, n]` inner products of the rows of a space in these roles."""
    sizes = spec.sizes(params_a)
    over = [sizes[name] for name in spec.space(space).over]
    shape = (*over, sizes[space], sizes[space])
    leaves = jax.tree.leaves((params_a, params_b))
    numbers = programs.namespace(leaves, units)
    products, dtype = None, numbers.result_type(*leaves)
    pairs = zip(
        rows(params_a, spec, space, roles, without),
        rows(params_b, spec, space, roles, without),
        strict=True,
    )
    for (weight, a), (_, b) in pairs:
        # The network that moves first: of many that are compared with one, the rows
        # then lie below each other in one matrix product. And one use at a time: what
        # does not move is compared once, outside of a solver's loop.
        if numbers is np:
            a, b = (
                x if unit == 1 else x * unit.astype(x.dtype)
                for x, unit in zip((a, b), units, strict=True)
            )
            product = np.matmul(a, b.swapaxes(-1, -2)).astype(dtype, copy=False)
            products = plus(products, product if weight == 1 else weight * product)
            continue
        a, b = a * units.a.astype(a.dtype), b * units.b.astype(b.dtype)
        product = jnp.matmul(b, a.swapaxes(-1, -2), precision="highest")
        product = product.swapaxes(-1, -2).astype(dtype)
        products = plus(products, product if weight == 1 else weight * product)
    if products is None:
        return numbers.zeros(shape, dtype)
    return products
