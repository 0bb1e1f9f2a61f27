"""A common scale for two networks, which leaves permutations and signs to be found.

Positive scales make inner products of weights meaningless: a neuron scaled up by 16
looks sixteen times as similar to everything. Both networks are therefore moved to the
balanced member of their orbit, which is unique (`symmetry.balance_scales`), and matched
there; the element found is carried back.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base


def common_scale(
    problem: _base.AlignmentProblem, *, rescale: bool = True
) -> tuple[
    _base.AlignmentProblem,
    Callable[[symmetry.GroupElement], symmetry.GroupElement],
]:
    """Return the problem with balanced scales, and how to carry an element back.

    Args:
      problem: two networks in any scale.
      rescale: False leaves the problem as it is.

    Returns:
      The problem with both networks balanced, and a function that turns an element that
      solves it into the one that solves the problem as it was given.
    """
    if not rescale:
        return problem, lambda element: element
    spec = problem.spec
    scales_a = symmetry.balance_scales(problem.params_a, spec)
    scales_b = symmetry.balance_scales(problem.params_b, spec)
    balanced = dataclasses.replace(
        problem,
        params_a=symmetry.act(scales_a, problem.params_a, spec),
        params_b=symmetry.act(scales_b, problem.params_b, spec),
    )
    return balanced, functools.partial(carry_back, scales_a, scales_b)


def carry_back(
    scales_a: symmetry.GroupElement,
    scales_b: symmetry.GroupElement,
    element: symmetry.GroupElement,
) -> symmetry.GroupElement:
    """Return `scales_a^-1 . element . scales_b`: what it is in the scales of before."""
    moved = symmetry.compose(element, scales_b)
    return symmetry.compose(symmetry.inverse(scales_a), moved)


def without_scales(
    element: symmetry.GroupElement, spec: symmetry.SymmetrySpec
) -> symmetry.GroupElement:
    """Return the element with all positive scales set to one; signs stay.

    Permutations are int32, as in every solver: elements of others can start a loop.
    """
    return {
        name: symmetry.Monomial(
            perm.astype(jnp.int32),
            jnp.where(jnp.isfinite(scale), 1, scale)  # NaN stays: it means nothing
            if spec.space(name).group is symmetry.Group.SCALE
            else scale,
        )
        for name, (perm, scale) in element.items()
    }
