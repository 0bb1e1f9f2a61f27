"""How alike the neurons of two networks are, read off their weights."""

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
    monomial `g` of the space, the terms of `<a, (g h).b>` that depend on `g` are
    `sum_i g.scale[i] * C[i, g.perm[i]]`: the matrix that Ainsworth et al. 2023 (arXiv
    2209.04836, eq. 2) hand to the assignment problem, for any architecture.

    Args:
      params_a: the network that stays.
      params_b: the network that moves.
      element: monomials of the other spaces; that of `space` is not used.
      spec: symmetry of both.
      space: name of the space, with `n` neurons.

    Returns:
      `[n, n]`, rows for `a`, columns for `b`.
    """
    others = {name: monomial for name, monomial in element.items() if name != space}
    return inner_products(
        params_a, symmetry.act(others, params_b, spec), spec, space, (-1, 0, 1)
    )


def inner_products(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    space: str,
    powers: tuple[int, ...],
) -> Array:
    """Return `[n, n]` inner products of the rows of a space, uses of these powers."""
    rows_a = symmetry.unfold(params_a, spec, space, *powers)
    rows_b = symmetry.unfold(params_b, spec, space, *powers)
    return jnp.matmul(rows_a, rows_b.T, precision="highest")
