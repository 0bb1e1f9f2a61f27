"""The search for a common frame, shared by the solvers for many networks."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import merging, programs, symmetry
from symmerge_jax.alignment import _base, _frame, _many, _starts, _units
from symmerge_jax.typing import Array, Key, Params


class Moved(NamedTuple):
    """Networks on their way: `params_k` is `elements_k . x_k` in balanced scales."""

    elements: symmetry.GroupElement
    params: Params


def solve(
    problem: _many.ManyProblem,
    starts: Any,
    sweep: Callable[[Any, Array, Moved, _many.ManyProblem], Moved],
    *,
    min_sweeps: int,
    max_sweeps: int,
    init: _base.Aligner | None,
    init_key: Key,
) -> _many.ManyResult:
    """Repeat a sweep from several starts until the spread stops falling.

    Positive scales are balanced first and then left alone, so that a sweep sees
    permutations and signs only. `starts` is a tree with a leading axis `[num_starts]`,
    and `sweep(start, count, moved, problem) -> moved` is told how many sweeps came
    before. `init` moves every network onto the first one, before all sweeps, where that
    lowers the spread.
    """
    balanced, scales = _balance(problem)
    params, spec = balanced.params_batch, balanced.spec
    first = Moved(jax.vmap(lambda x: _starts.identity(x, spec))(params), params)
    if init is not None:
        first = _onto_first(init, init_key, first, balanced)

    def descend(start) -> _State:
        def step(count, moved):
            return sweep(start, count, moved, balanced)

        return _descend(step, first, balanced, min_sweeps, max_sweeps)

    final = jax.lax.map(descend, starts)  # one after the other, to save memory
    reached = final.objective[:, -1]
    best = symmetry.rows(final, jnp.argmin(reached))
    elements = best.moved.elements
    to_first = symmetry.inverse(symmetry.rows(elements, 0), spec)
    if elements:
        elements = programs.each(
            lambda element: symmetry.compose(to_first, element, spec), elements
        )
    unit = _unit(balanced)
    return _many.ManyResult(
        elements=_compose_each(elements, scales, problem.spec),
        objective=_units.restore(best.objective, unit),
        converged=~best.improved & jnp.all(jnp.isfinite(reached)),
        num_iters=best.num_sweeps,
        start_objectives=_units.restore(reached, unit),
    )


def solve_pair(
    aligner: _base.Aligner, key: Key, problem: _many.ManyProblem
) -> _many.ManyResult:
    """Align the second of two networks to the first, in balanced scales."""
    balanced, scales = _balance(problem)
    params, spec = balanced.params_batch, balanced.spec
    first, second = (symmetry.rows(params, number) for number in (0, 1))
    found = aligner(key, _pair(first, second, balanced))
    numbers = programs.namespace(params)
    stay = _starts.identity(first, spec, numbers)
    elements = _stack(stay, {**stay, **found.element})
    after = _stack(first, symmetry.act(found.element, second, spec))
    unit = _unit(balanced)
    spreads = numbers.stack([spread(x, balanced, unit) for x in (params, after)])
    objective = _units.restore(spreads, unit)
    return _many.ManyResult(
        elements=_compose_each(elements, scales, problem.spec),
        objective=objective,
        converged=found.converged,
        num_iters=numbers.ones((), np.int32),
        start_objectives=objective[1:],
    )


def spread(params_batch: Params, problem: _many.ManyProblem, unit: Array) -> Array:
    """Return the weighted spread of networks around their weighted mean, `[]`.

    Of weights in this unit, each counting with its `spec.match_weight`.
    """
    weights, spec = problem.weights, problem.spec
    mean = merging.average(params_batch, weights)
    distances = programs.each(
        lambda params: _base.squared_difference(mean, params, spec, unit),
        params_batch,
    )
    total = (weights.astype(distances.dtype) * distances).sum()
    return programs.namespace(total).asarray(total)


def mean_of_others(params_batch: Params, weights: Array, number: Array) -> Params:
    """Return the weighted mean of all networks but one."""
    others = jnp.where(jnp.arange(len(weights)) == number, 0, weights)
    return merging.average(params_batch, others / jnp.sum(others))


def move_closer(
    aligner: _base.Aligner,
    key: Key,
    reference: Params,
    present: Moved,
    problem: _many.ManyProblem,
) -> Moved:
    """Align one of the networks to a reference; keep it unless that is closer."""
    step = aligner(key, _pair(reference, present.params, problem)).element
    spec = problem.spec
    proposed = Moved(
        symmetry.compose(step, present.elements, spec),
        symmetry.act(step, present.params, spec),
    )
    unit = _units.of_networks(spec, reference, present.params)
    new, old = (
        _base.squared_difference(reference, moved.params, spec, unit)
        for moved in (proposed, present)
    )
    return _where(new < old, proposed, present)


class _State(NamedTuple):
    """Where one descent stands; `improved` by the last sweep."""

    moved: Moved
    objective: Array
    improved: Array
    num_sweeps: Array


def _descend(
    sweep: Callable[[Array, Moved], Moved],
    first: Moved,
    problem: _many.ManyProblem,
    min_sweeps: int,
    max_sweeps: int,
) -> _State:
    unit = _unit(problem)

    def step(state: _State) -> _State:
        moved = sweep(state.num_sweeps, state.moved)
        old, new = state.objective[-1], spread(moved.params, problem, unit)
        # Rounding must not pass for an improvement.
        improved = new < old * (1 - 8 * jnp.finfo(new.dtype).eps)
        moved, reached = _where(improved, (moved, new), (state.moved, old))
        num_sweeps = state.num_sweeps + 1
        later = jnp.arange(max_sweeps + 1) >= num_sweeps
        objective = jnp.where(later, reached, state.objective)
        return _State(moved, objective, improved, num_sweeps)

    def unfinished(state: _State) -> Array:
        more = state.improved | (state.num_sweeps < min_sweeps)
        return more & (state.num_sweeps < max_sweeps)

    objective = jnp.full(max_sweeps + 1, spread(first.params, problem, unit))
    given = spread(problem.params_batch, problem, unit)
    objective = objective.at[0].set(given)
    start = _State(first, objective, jnp.ones((), bool), jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, step, start)


def _onto_first(
    aligner: _base.Aligner, key: Key, given: Moved, problem: _many.ManyProblem
) -> Moved:
    """Move each network onto the first one; keep all unless that lowers the spread."""
    spec, first = problem.spec, symmetry.rows(given.params, 0)

    def align(key, params):
        found = aligner(key, _pair(first, params, problem)).element
        return symmetry.unit_scales(found, spec), symmetry.act(found, params, spec)

    keys = jax.random.split(key, len(problem.weights))
    elements, params = jax.vmap(align)(keys, given.params)
    proposed = Moved({**given.elements, **elements}, params)
    unit = _unit(problem)
    new, old = (spread(x.params, problem, unit) for x in (proposed, given))
    return _where(new < old, proposed, given)


def _balance(
    problem: _many.ManyProblem,
) -> tuple[_many.ManyProblem, symmetry.GroupElement]:
    """Return the problem in balanced scales, and the scales that lead there."""
    spec = problem.spec
    batch_shape = spec.batch_shape(problem.params_batch)
    if len(batch_shape) != 1 or batch_shape[0] < 2:
        raise ValueError(
            "A common frame takes at least two networks on one leading axis, got"
            f" leading axes {batch_shape}."
        )
    scales, params_batch = programs.each(
        lambda params: _frame.fix_scales(params, spec), problem.params_batch
    )
    balanced = dataclasses.replace(
        problem, params_batch=params_batch, spec=spec.without_scales()
    )
    return balanced, scales


def _pair(
    params_a: Params, params_b: Params, problem: _many.ManyProblem
) -> _base.AlignmentProblem:
    return _base.AlignmentProblem(
        params_a=params_a, params_b=params_b, task=problem.task, spec=problem.spec
    )


def _compose_each(
    second: symmetry.GroupElement,
    first: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
) -> symmetry.GroupElement:
    """Compose along the networks, also where there is nothing that could move."""
    if not second and not first:
        return {}
    return programs.each(lambda g, h: symmetry.compose(g, h, spec), second, first)


def _unit(problem: _many.ManyProblem) -> Array:
    return _units.of_networks(problem.spec, problem.params_batch)


def _where(condition: Array, tree: Any, other: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), tree, other)


def _stack(*trees: Any) -> Any:
    stack = programs.namespace(trees).stack
    return jax.tree.map(lambda *leaves: stack(leaves), *trees)
