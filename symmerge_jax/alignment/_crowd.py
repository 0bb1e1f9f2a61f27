"""The search for a common frame, shared by the solvers for many networks."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _frame, _many, _options, _starts, _units
from symmerge_jax.typing import Array, Key, Params


class Crowd(NamedTuple):
    """Networks on their way: `moved_k` is `elements_k . x_k` in balanced scales."""

    elements: symmetry.GroupElement
    moved: Params


def solve(
    problem: _many.ManyProblem,
    starts: Any,
    sweep: Callable[[Any, Array, Crowd, _many.ManyProblem], Crowd],
    *,
    min_sweeps: int,
    max_sweeps: int,
    init: _base.Aligner | None = None,
    init_key: Key | None = None,
) -> _many.ManyResult:
    """Repeat a sweep from several starts until the spread stops falling.

    Positive scales are balanced first and then left alone, so that a sweep sees
    permutations and signs only.

    Args:
      problem: the networks as given.
      starts: tree of arrays with a leading axis `[num_starts]`.
      sweep: `sweep(start, count, crowd, problem) -> crowd` for one of the starts, given
        the number of sweeps that came before.
      min_sweeps: number of sweeps that are done in any case.
      max_sweeps: upper bound on the number of sweeps from each start.
      init: moves every network onto the first one, before all sweeps, where that lowers
        the spread; None to start from the networks as given.
      init_key: its random key; needed with `init` only.

    Returns:
      The best of the starts.

    Raises:
      ValueError: fewer than two networks, or parameters that do not fit the spec.
    """
    balanced, scales = _balance(problem)
    crowd = _as_given(balanced)
    if init is not None:
        assert init_key is not None
        crowd = _onto_first(init, init_key, crowd, balanced)
    unit = _unit(balanced)

    def descend(start) -> _State:
        step = lambda count, crowd: sweep(start, count, crowd, balanced)  # noqa: E731
        return _descend(step, crowd, balanced, min_sweeps, max_sweeps)

    final = jax.lax.map(descend, starts)  # one after the other, to save memory
    reached = final.objective[:, -1]
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(reached)], final)
    elements = best.crowd.elements
    to_first = symmetry.inverse(_take(elements, 0))
    elements = _compose_each(to_first, elements, (None, 0))
    return _many.ManyResult(
        elements=_compose_each(elements, scales, (0, 0)),
        objective=_units.restore(best.objective, unit),
        converged=~best.improved & jnp.all(jnp.isfinite(reached)),
        num_sweeps=best.sweeps,
        start_objectives=_units.restore(reached, unit),
    )


def solve_pair(
    aligner: _base.Aligner, key: Key, problem: _many.ManyProblem
) -> _many.ManyResult:
    """Align the second of two networks to the first, in balanced scales."""
    balanced, scales = _balance(problem)
    params, spec = balanced.params_batch, balanced.spec
    first, second = (_take(params, number) for number in (0, 1))
    found = aligner(key, _pair(first, second, balanced))
    stay = _starts.identity(first, spec)
    stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
    elements = jax.tree.map(stack, stay, {**stay, **found.element})
    after = jax.tree.map(stack, first, symmetry.act(found.element, second, spec))
    unit = _unit(balanced)
    spreads = jnp.stack([spread(x, balanced, unit) for x in (params, after)])
    objective = _units.restore(spreads, unit)
    return _many.ManyResult(
        elements=_compose_each(elements, scales, (0, 0)),
        objective=objective,
        converged=found.converged,
        num_sweeps=jnp.ones((), int),
        start_objectives=objective[1:],
    )


def spread(params_batch: Params, problem: _many.ManyProblem, unit: Array) -> Array:
    """Return the weighted spread of networks around their weighted mean, `[]`.

    Of weights in this unit, each counting with its `spec.match_weight`.
    """
    weights, spec = problem.weights, problem.spec
    mean = weighted_mean(params_batch, weights)
    distances = jax.vmap(
        lambda params: _base.squared_difference(mean, params, spec, unit)
    )(params_batch)
    return jnp.sum(weights.astype(distances.dtype) * distances)


def _unit(problem: _many.ManyProblem) -> Array:
    return _units.of_networks(problem.spec, problem.params_batch)


def weighted_mean(params_batch: Params, weights: Array) -> Params:
    """Return `sum_k weights_k x_k`."""
    return jax.tree.map(
        lambda x: jnp.tensordot(weights.astype(x.dtype), x, 1, precision="highest"),
        params_batch,
    )


def mean_of_others(params_batch: Params, weights: Array, number: Array) -> Params:
    """Return the weighted mean of all networks but one."""
    others = jnp.where(jnp.arange(len(weights)) == number, 0, weights)
    return weighted_mean(params_batch, others / jnp.sum(others))


def move_closer(
    aligner: _base.Aligner,
    key: Key,
    reference: Params,
    present: Crowd,
    problem: _many.ManyProblem,
) -> Crowd:
    """Align one network of a crowd to a reference; keep it unless that is closer."""
    step = aligner(key, _pair(reference, present.moved, problem)).element
    found = Crowd(
        symmetry.compose(step, present.elements),
        symmetry.act(step, present.moved, problem.spec),
    )
    spec = problem.spec
    unit = _units.of_networks(spec, reference, present.moved)
    new, old = (
        _base.squared_difference(reference, moved, spec, unit)
        for moved in (found.moved, present.moved)
    )
    closer = new < old
    return jax.tree.map(lambda a, b: jnp.where(closer, a, b), found, present)


def check_options(solver: Any) -> None:
    """Refuse what is no solver for pairs, and numbers below one."""
    name = type(solver).__name__
    _options.check_aligner(name, "aligner", solver.aligner, optional=False)
    _options.check_aligner(name, "init", solver.init)
    for field in ("num_starts", "max_sweeps"):
        _options.check_integer(name, field, getattr(solver, field), 1)


def check_problem(problem: Any, solver: str) -> None:
    """Refuse what is no problem of many networks."""
    if not isinstance(problem, _many.ManyProblem):
        raise TypeError(
            f"{solver} brings many networks together, as merge does; to align two, take"
            " a solver for pairs, such as WeightMatching()."
        )


class _State(NamedTuple):
    """Where one descent stands; `improved` by the last sweep, `sweeps` done."""

    crowd: Crowd
    objective: Array
    improved: Array
    sweeps: Array


def _descend(
    sweep: Callable[[Array, Crowd], Crowd],
    first: Crowd,
    problem: _many.ManyProblem,
    min_sweeps: int,
    max_sweeps: int,
) -> _State:
    unit = _unit(problem)

    def step(state: _State) -> _State:
        crowd = sweep(state.sweeps, state.crowd)
        old, new = state.objective[-1], spread(crowd.moved, problem, unit)
        # Rounding must not pass for an improvement.
        improved = new < old * (1 - 8 * jnp.finfo(new.dtype).eps)
        crowd, reached = jax.tree.map(
            lambda a, b: jnp.where(improved, a, b), (crowd, new), (state.crowd, old)
        )
        sweeps = state.sweeps + 1
        later = jnp.arange(max_sweeps + 1) >= sweeps
        objective = jnp.where(later, reached, state.objective)
        return _State(crowd, objective, improved, sweeps)

    def unfinished(state: _State) -> Array:
        more = state.improved | (state.sweeps < min_sweeps)
        return more & (state.sweeps < max_sweeps)

    objective = jnp.full(max_sweeps + 1, spread(first.moved, problem, unit))
    given = spread(problem.params_batch, problem, unit)
    objective = objective.at[0].set(given)
    start = _State(first, objective, jnp.ones((), bool), jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, step, start)


def _as_given(problem: _many.ManyProblem) -> Crowd:
    params = problem.params_batch
    return Crowd(jax.vmap(lambda x: _starts.identity(x, problem.spec))(params), params)


def _onto_first(
    aligner: _base.Aligner, key: Key, given: Crowd, problem: _many.ManyProblem
) -> Crowd:
    """Move each network onto the first one; keep all unless that lowers the spread."""
    spec, first = problem.spec, _take(given.moved, 0)

    def align(key, params):
        found = aligner(key, _pair(first, params, problem)).element
        return _frame.without_scales(found, spec), symmetry.act(found, params, spec)

    keys = jax.random.split(key, len(problem.weights))
    elements, moved = jax.vmap(align)(keys, given.moved)
    found = Crowd({**given.elements, **elements}, moved)
    unit = _unit(problem)
    closer = spread(moved, problem, unit) < spread(given.moved, problem, unit)
    return jax.tree.map(lambda a, b: jnp.where(closer, a, b), found, given)


def _balance(
    problem: _many.ManyProblem,
) -> tuple[_many.ManyProblem, symmetry.GroupElement]:
    """Return the problem in balanced scales, and the scales that lead there."""
    batch_shape = problem.spec.batch_shape(problem.params_batch)
    if len(batch_shape) != 1 or batch_shape[0] < 2:
        raise ValueError(
            "A common frame takes at least two networks on one leading axis, got"
            f" leading axes {batch_shape}."
        )
    balance = lambda params: symmetry.balance_scales(params, problem.spec)  # noqa: E731
    scales = jax.vmap(balance)(problem.params_batch)
    act = lambda element, params: symmetry.act(element, params, problem.spec)  # noqa: E731
    balanced = dataclasses.replace(
        problem,
        params_batch=jax.vmap(act)(scales, problem.params_batch),
        spec=problem.spec.without_scales(),
    )
    return balanced, scales


def _pair(params_a: Params, params_b: Params, problem: _many.ManyProblem):
    return _base.AlignmentProblem(
        params_a=params_a,
        params_b=params_b,
        data=problem.data,
        spec=problem.spec,
        features_fn=problem.features_fn,
        loss_fn=problem.loss_fn,
    )


def _compose_each(
    second: symmetry.GroupElement, first: symmetry.GroupElement, in_axes
) -> symmetry.GroupElement:
    """Compose along the networks, also where there is nothing that could move."""
    if not second and not first:
        return {}
    return jax.vmap(symmetry.compose, in_axes)(second, first)


def _take(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], tree)
