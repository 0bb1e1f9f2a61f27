"""A common scale for two networks, which leaves permutations and signs to be found.

Positive scales make inner products of weights meaningless: a neuron scaled up by 16
looks sixteen times as similar to everything. Both networks are therefore moved to the
balanced member of their orbit, which is unique (`symmetry.balance_scales`), and matched
there; the element found is carried back. Signs that neurons have beside their own, as
by a norm in a stream, are fixed in the same way.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base
from symmerge_jax.typing import Params


def common_scale(
    problem: _base.AlignmentProblem, *, rescale: bool = True
) -> tuple[
    _base.AlignmentProblem,
    Callable[[symmetry.GroupElement], symmetry.GroupElement],
]:
    """Return the problem with balanced scales, and how to carry an element back.

    The second turns an element that solves the balanced problem into the one that
    solves the problem as it was given. Without `rescale` the problem stays as it is.
    """
    if not rescale:
        return problem, lambda element: element
    spec = problem.spec
    # Both in one loop, which is compiled once.
    both = jax.tree.map(
        lambda a, b: jnp.stack([a, b]), problem.params_a, problem.params_b
    )
    balanced = jax.vmap(lambda params: symmetry.balance_scales(params, spec))(both)
    (scales_a, params_a), (scales_b, params_b) = (
        _fix(symmetry.rows(balanced, i), params, spec)
        for i, params in enumerate((problem.params_a, problem.params_b))
    )
    problem = dataclasses.replace(problem, params_a=params_a, params_b=params_b)
    return problem, functools.partial(carry_back, scales_a, scales_b, spec)


def fix_scales(
    params: Params, spec: symmetry.SymmetrySpec
) -> tuple[symmetry.GroupElement, Params]:
    """Return the element that balances scales and fixes further signs, and its twin."""
    return _fix(symmetry.balance_scales(params, spec), params, spec)


def _fix(
    element: symmetry.GroupElement, params: Params, spec: symmetry.SymmetrySpec
) -> tuple[symmetry.GroupElement, Params]:
    """Return the element with the signs that it leaves fixed, and the twin."""
    params = symmetry.act(element, params, spec)
    if not (signs := symmetry.follower_signs(params, spec)):
        return element, params
    return symmetry.compose(signs, element, spec), symmetry.act(signs, params, spec)


def carry_back(
    scales_a: symmetry.GroupElement,
    scales_b: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    element: symmetry.GroupElement,
) -> symmetry.GroupElement:
    """Return `scales_a^-1 . element . scales_b`: what it is in the scales of before."""
    moved = symmetry.compose(element, scales_b, spec)
    return symmetry.compose(symmetry.inverse(scales_a, spec), moved, spec)
