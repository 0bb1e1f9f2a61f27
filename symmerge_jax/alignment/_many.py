"""Many networks in one frame: what the solvers for many take and give.

Fixed once: every network `k` gets one element `g_k` that moves it into a frame that all
share, and the objective is the weighted spread there,

    `sum_k weight_k ||g_k.x_k - mean||^2`, `mean = sum_k weight_k g_k.x_k`.

Elements between two networks are derived (`element_between`), so that going from `a` to
`b` and on to `c` is the same as going from `a` to `c`: cycles close by construction
(the idea of Crisostomi et al. 2024, *C2M3*, arXiv 2405.17897, here for permutations and
signs).
"""

import dataclasses
from typing import NamedTuple

import jax

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params, Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyProblem:
    """Networks of one architecture, and what a solver may know beyond weights.

    Attributes:
      params_batch: the networks, with a leading axis `[N]` on every leaf.
      weights: `[N]` of the mean, above zero, sum 1.
      task: data and functions, for solvers that look at them.
      spec: the symmetry of all.
    """

    params_batch: Params
    weights: Array
    task: Task = dataclasses.field(default_factory=Task)
    spec: symmetry.SymmetrySpec = dataclasses.field(metadata={"static": True})


class ManyResult(NamedTuple):
    """A common frame; not having converged is a value, not an error.

    Attributes:
      elements: `g_k` on a leading axis `[N]`, one monomial per space whose group is not
        trivial. The frame is that of the first network in balanced scales: it is
        neither permuted nor flipped.
      objective: `[T + 1]` the spread in balanced scales, in units of squared weights,
        of the best start: of the networks as they came, and after each iteration, which
        is a sweep. Never rises (for two networks, see `MergeMany`); entries after the
        last sweep repeat it.
      converged: `[]` whether it stopped by itself and not at the last sweep allowed.
      num_iters: `[]` sweeps done from the best start.
      start_objectives: `[num_starts]` spread reached from each start.
    """

    elements: symmetry.GroupElement
    objective: Array
    converged: Array
    num_iters: Array
    start_objectives: Array


def element_between(
    elements: symmetry.GroupElement,
    origin: int | Array,
    target: int | Array,
    spec: symmetry.SymmetrySpec | None = None,
) -> symmetry.GroupElement:
    """Return the element that moves one of many networks onto another.

    Law: `compose(element_between(e, b, c), element_between(e, a, b))` is
    `element_between(e, a, c)`; bit for bit for permutations and signs, to rounding for
    scales.

    Args:
      elements: into a common frame, with a leading axis `[N]`, as in `ManyResult`.
      origin: number of the network that moves.
      target: number of the network that it is moved onto.
      spec: needed where spaces lie over others or follow them.

    Returns:
      `g_target^-1 g_origin`.
    """
    first, last = (symmetry.rows(elements, number) for number in (origin, target))
    return symmetry.compose(symmetry.inverse(last, spec), first, spec)
