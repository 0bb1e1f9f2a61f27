"""What every solver takes and gives: problem, result, protocol.

Fixed once: the element `g` of the result moves `params_b` onto `params_a`, so that
`symmetry.act(g, params_b, spec)` and `params_a` can be averaged.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _units
from symmerge_jax.typing import Array, Key, Params, Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentProblem:
    """Two networks of one architecture, and what a solver may know beyond weights.

    A pytree: parameters and data are arrays, the rest is static under `jax.jit`.

    Attributes:
      params_a: the network that stays.
      params_b: the network that moves.
      task: data and functions, for solvers that look at them.
      spec: the symmetry of both.
    """

    params_a: Params
    params_b: Params
    task: Task = dataclasses.field(default_factory=Task)
    spec: symmetry.SymmetrySpec = dataclasses.field(metadata={"static": True})


class AlignmentResult(NamedTuple):
    """What a solver found; not having converged is a value, not an error.

    Attributes:
      element: moves `params_b` onto `params_a`; one monomial per space whose group is
        not trivial.
      objective: `[T + 1]` what the solver minimises, at the best start: before the
        first iteration and after each; entries after the last iteration repeat it.
        Its unit depends on the solver, whose docstring names it.
      converged: `[]` whether it stopped by itself, not at the last iteration allowed.
      num_iters: `[]` iterations done from the best start.
      start_objectives: `[num_starts]` objective reached from each start; the element
        belongs to the least. Their spread says how rugged the problem is.
    """

    element: symmetry.GroupElement
    objective: Array
    converged: Array
    num_iters: Array
    start_objectives: Array


@runtime_checkable
class Aligner(Protocol):
    """A solver: a frozen, keyword-only dataclass of options, called on a problem.

    Pure, so that it can be compiled and lifted to many pairs with `jax.vmap`.
    """

    def __call__(self, key: Key, problem: AlignmentProblem) -> AlignmentResult: ...


def unit_of(problem: AlignmentProblem) -> Array:
    """Return the unit `[]` in which distances of the two networks can be squared."""
    return _units.of_networks(problem.spec, problem.params_a, problem.params_b)


def squared_distance(
    element: symmetry.GroupElement, problem: AlignmentProblem, unit: Array
) -> Array:
    """Return `||a - element.b||^2`, `[]`, of weights in this unit."""
    moved = symmetry.act(element, problem.params_b, problem.spec)
    return squared_difference(problem.params_a, moved, problem.spec, unit)


def squared_difference(
    params_a: Params, params_b: Params, spec: symmetry.SymmetrySpec, unit: Array
) -> Array:
    """Return `||a - b||^2`, `[]`, of weights in this unit."""
    return weighted_sum(lambda a, b: (a - b) ** 2, params_a, params_b, spec, unit)


def weighted_sum(
    function: Callable[[Array, Array], Array],
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    unit: Array,
) -> Array:
    """Return the sum of a function of pairs of weights in this unit, `[]`.

    Every parameter counts with its `spec.match_weight`.
    """
    leaves_a, leaves_b = symmetry.flatten(params_a), symmetry.flatten(params_b)
    numbers = programs.namespace(params_a, params_b, unit)
    total = numbers.zeros_like(unit)
    for path, _ in spec.axes:
        weight = spec.match_weight(path)
        if not symmetry.is_parameter(leaves_a.get(path)) or not weight:
            continue
        a, b = leaves_a[path], leaves_b[path]
        if numbers is jnp or unit != 1:
            a, b = (numbers.asarray(x) * unit.astype(x.dtype) for x in (a, b))
        part = numbers.sum(function(a, b)).astype(total.dtype)
        total = total + (part if weight == 1 else weight * part)
    return numbers.asarray(total)
