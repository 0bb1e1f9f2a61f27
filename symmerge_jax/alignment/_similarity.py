"""How alike the neurons of two networks are, read off their weights."""

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params


def similarity(
    params_a: Params,
    params_b: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    space: str,
) -> Array:
    """Return the inner products of the neurons of one space, all others being aligned.

    `C[i, j] = sum_W <row i of W_a, row j of (h.b)_W>` over every parameter `W` that
    writes, reads or keeps the space, with `h` the element without this space. For any
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
    return inner_products(params_a, moved, spec, space, (-1, 0, 1))


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
    params_a: Params, moved_b: Params, spec: symmetry.SymmetrySpec, space: str
) -> tuple[Array, Array | None]:
    """Return the inner products `[n, n]` that a sign turns, and those that it leaves.

    The latter are of uses with power 0, as of the kernel in front of a BatchNorm; None
    if there are none. Both go into `project`.
    """
    turned = inner_products(params_a, moved_b, spec, space, (-1, 1))
    if not any(spec.uses(space, 0)):
        return turned, None
    return turned, inner_products(params_a, moved_b, spec, space, (0,))


def inner_products(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    powers: tuple[int, ...],
) -> Array:
    """Return `[n, n]` inner products of the rows of a space, uses of these powers."""
    n = spec.sizes(params_a)[space]
    products = jnp.zeros((n, n), jnp.result_type(*jax.tree.leaves(params_a)))
    rows_a, rows_b = (
        symmetry.unfold_uses(params, spec, space, *powers)
        for params in (params_a, params_b)
    )
    for a, b in zip(rows_a, rows_b, strict=True):
        # The network that moves first: of many that are compared with one, the rows
        # then lie below each other in one matrix product. And one use at a time: what
        # does not move is compared once, outside of a solver's loop.
        products += jnp.matmul(b, a.T, precision="highest").T
    return products
