"""How alike the neurons of two networks are, read off their weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from symmerge_jax import symmetry
from symmerge_jax.alignment import _projection, _units
from symmerge_jax.typing import Array, Params


def similarity(
    params_a: Params,
    params_b: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    space: str,
) -> Float[Array, "n n"]:
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
      `[n, n]`, rows for `a`, columns for `b`.
    """
    moved = move_others(element, params_b, spec, space)
    units = units_of(params_a, moved, spec, space)
    products = inner_products(params_a, moved, spec, space, (-1, 0, 1), units)
    return _units.divide(products, *units)


def units_of(
    params_a: Params, params_b: Params, spec: symmetry.SymmetrySpec, space: str
) -> _units.Pair:
    """Return units in which the rows of a space can be multiplied with each other.

    One for all uses of the space, so that these count as they should. They hold for
    moved networks, too, unless positive scales move them.
    """
    return _units.Pair(
        *(
            _units.unit(*(x for _, x in rows(params, spec, space, (-1, 0, 1))))
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


def compare(
    params_a: Params,
    moved_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    units: _units.Pair | None = None,
) -> tuple[Array, Array | None]:
    """Return the inner products `[n, n]` that a sign turns, and those that it leaves.

    The latter are of uses with power 0, as of the kernel in front of a BatchNorm; None
    if there are none. Both go into `project`. All rows are in the units given, None for
    `units_of` the networks.
    """
    units = units or units_of(params_a, moved_b, spec, space)
    turned = inner_products(params_a, moved_b, spec, space, (-1, 1), units)
    if not any(spec.match_weight(path) for path, _, _ in spec.uses(space, 0)):
        return turned, None
    return turned, inner_products(params_a, moved_b, spec, space, (0,), units)


def best_monomial(
    params_a: Params,
    moved_b: Params,
    spec: symmetry.SymmetrySpec,
    space: symmetry.Space,
    **options: Any,
) -> symmetry.Monomial:
    """Return the monomial of one space that fits its neurons best, see `project`."""
    signed, unsigned = compare(params_a, moved_b, spec, space.name)
    return _projection.project(signed, space.group, unsigned=unsigned, **options)


def rows(
    params: Params, spec: symmetry.SymmetrySpec, space: str, powers: tuple[int, ...]
) -> list[tuple[float, Array]]:
    """Return weight in matching and rows `[n, m]` of each use that has a weight."""
    weights = [spec.match_weight(path) for path, _, _ in spec.uses(space, *powers)]
    matrices = symmetry.unfold_uses(params, spec, space, *powers)
    return [(w, x) for w, x in zip(weights, matrices, strict=True) if w]


def inner_products(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    powers: tuple[int, ...],
    units: _units.Pair,
) -> Array:
    """Return `[n, n]` inner products of the rows of a space, uses of these powers."""
    n = spec.sizes(params_a)[space]
    products = jnp.zeros((n, n), jnp.result_type(*jax.tree.leaves(params_a)))
    pairs = zip(
        rows(params_a, spec, space, powers),
        rows(params_b, spec, space, powers),
        strict=True,
    )
    for (weight, a), (_, b) in pairs:
        # The network that moves first: of many that are compared with one, the rows
        # then lie below each other in one matrix product. And one use at a time: what
        # does not move is compared once, outside of a solver's loop.
        a, b = a * units.a.astype(a.dtype), b * units.b.astype(b.dtype)
        product = jnp.matmul(b, a.T, precision="highest").T.astype(products.dtype)
        products += product if weight == 1 else weight * product
    return products
