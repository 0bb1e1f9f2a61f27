"""A common scale for two networks, which leaves permutations and signs to be found.

Positive scales make inner products of weights meaningless: a neuron scaled up by 16
looks sixteen times as similar to everything. Both networks are therefore moved to the
balanced member of their orbit, which is unique (`symmetry.balance_scales`), and matched
there; the element found is carried back.
"""

import dataclasses
import functools
from collections.abc import Callable

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base


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
