"""Many networks in one frame: what the solvers for crowds take, give and share.

Fixed once: every network `k` gets one element `g_k` that moves it into a frame that all
share, and the objective is the weighted spread there,

    `sum_k weight_k ||g_k.x_k - mean||^2`, `mean = sum_k weight_k g_k.x_k`.

Elements between two networks are derived (`between`), so that going from `a` to `b` and
on to `c` is the same as going from `a` to `c`: cycles close by construction (the idea
of Crisostomi et al. 2024, *C2M3*, arXiv 2405.17897, here for permutations and signs).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _starts
from symmerge_jax.typing import Array, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyProblem:
    """Networks of one architecture, and what a solver may know beyond weights.

    Attributes:
      params_batch: the networks, with a leading axis `[N]` on every leaf.
      weights: `[N]` of the mean, above zero, sum 1.
      data: see `AlignmentProblem`.
      spec: the symmetry of all.
      features_fn: see `AlignmentProblem`.
      loss_fn: see `AlignmentProblem`.
    """

    params_batch: Params
    weights: Array
    data: Any = None
    spec: symmetry.SymmetrySpec = dataclasses.field(metadata={"static": True})
    features_fn: Callable[[Params, Any], Mapping[str, Array]] | None = (
        dataclasses.field(default=None, metadata={"static": True})
    )
    loss_fn: Callable[[Params, Any], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )


class ManyResult(NamedTuple):
    """A common frame; not having converged is a value, not an error.

    Attributes:
      elements: `g_k` on a leading axis `[N]`, one monomial per space whose group is not
        trivial. The frame is that of the first network in balanced scales: it is
        neither permuted nor flipped.
      objective: `[T + 1]` the spread in balanced scales, in units of squared weights,
        of the best start: of the networks as they came, and after each sweep; never
        rises. Entries after the last sweep repeat it.
      converged: `[]` whether it stopped by itself and not at the last sweep allowed.
      num_sweeps: `[]` sweeps done from the best start.
      start_objectives: `[num_starts]` spread reached from each start.
    """

    elements: symmetry.GroupElement
    objective: Array
    converged: Array
    num_sweeps: Array
    start_objectives: Array


class ManyAligner(Protocol):
    """A solver for crowds: a frozen, keyword-only dataclass, called on a problem."""

    def __call__(self, key: Key, problem: ManyProblem) -> ManyResult: ...


class Crowd(NamedTuple):
    """Networks on their way: `moved_k` is `elements_k . x_k` in balanced scales."""

    elements: symmetry.GroupElement
    moved: Params


def between(
    elements: symmetry.GroupElement, origin: int, target: int
) -> symmetry.GroupElement:
    """Return the element that moves one network of a crowd onto another.

    Law: `compose(between(e, b, c), between(e, a, b)) = between(e, a, c)`; bit for bit
    for permutations and signs, to rounding for scales.

    Args:
      elements: into a common frame, with a leading axis `[N]`, as in `ManyResult`.
      origin: number of the network that moves.
      target: number of the network that it is moved onto.

    Returns:
      `g_target^-1 g_origin`.
    """
    first, last = (_take(elements, k) for k in (origin, target))
    return symmetry.compose(symmetry.inverse(last), first)


def solve(
    problem: ManyProblem,
    starts: Any,
    sweep: Callable[[Any, Array, Crowd, ManyProblem], Crowd],
    *,
    min_sweeps: int,
    max_sweeps: int,
) -> ManyResult:
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

    Returns:
      The best of the starts.

    Raises:
      ValueError: fewer than two networks, or parameters that do not fit the spec.
    """
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
        spec=_without_scales(problem.spec),
    )

    def descend(start) -> _State:
        step = lambda count, crowd: sweep(start, count, crowd, balanced)  # noqa: E731
        return _descend(step, balanced, min_sweeps, max_sweeps)

    final = jax.lax.map(descend, starts)  # one after the other, to save memory
    reached = final.objective[:, -1]
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(reached)], final)
    elements = best.crowd.elements
    to_first = symmetry.inverse(_take(elements, 0))
    elements = _compose_each(to_first, elements, (None, 0))
    return ManyResult(
        elements=_compose_each(elements, scales, (0, 0)),
        objective=best.objective,
        converged=~best.improved,
        num_sweeps=best.sweeps,
        start_objectives=reached,
    )


def spread(params_batch: Params, weights: Array) -> Array:
    """Return the weighted spread of networks around their weighted mean, `[]`."""
    mean = weighted_mean(params_batch, weights)
    distances = jax.vmap(_squared_distance, (None, 0))(mean, params_batch)
    return jnp.sum(weights.astype(distances.dtype) * distances)


def weighted_mean(params_batch: Params, weights: Array) -> Params:
    """Return `sum_k weights_k x_k`."""
    return jax.tree.map(
        lambda x: jnp.tensordot(weights.astype(x.dtype), x, 1, precision="highest"),
        dict(params_batch),
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
    problem: ManyProblem,
) -> Crowd:
    """Align one network of a crowd to a reference; keep it unless that is closer."""
    step = aligner(
        key,
        _base.AlignmentProblem(
            params_a=reference,
            params_b=present.moved,
            data=problem.data,
            spec=problem.spec,
            features_fn=problem.features_fn,
            loss_fn=problem.loss_fn,
        ),
    ).element
    found = Crowd(
        symmetry.compose(step, present.elements),
        symmetry.act(step, present.moved, problem.spec),
    )
    distance = _squared_distance(reference, found.moved)
    closer = distance < _squared_distance(reference, present.moved)
    return jax.tree.map(lambda a, b: jnp.where(closer, a, b), found, present)


def check_counts(num_starts: int, max_sweeps: int) -> None:
    """Refuse numbers of starts or sweeps below one."""
    if num_starts < 1 or max_sweeps < 1:
        raise ValueError(
            f"num_starts and max_sweeps must be >= 1, got {num_starts} and"
            f" {max_sweeps}."
        )


class _State(NamedTuple):
    """Where one descent stands; `improved` by the last sweep, `sweeps` done."""

    crowd: Crowd
    objective: Array
    improved: Array
    sweeps: Array


def _descend(
    sweep: Callable[[Array, Crowd], Crowd],
    problem: ManyProblem,
    min_sweeps: int,
    max_sweeps: int,
) -> _State:
    params, weights = dict(problem.params_batch), problem.weights

    def step(state: _State) -> _State:
        crowd = sweep(state.sweeps, state.crowd)
        old, new = state.objective[-1], spread(crowd.moved, weights)
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

    elements = jax.vmap(lambda x: _starts.identity(x, problem.spec))(params)
    objective = jnp.full(max_sweeps + 1, spread(params, weights))
    start = _State(
        Crowd(elements, params), objective, jnp.ones((), bool), jnp.zeros((), int)
    )
    return jax.lax.while_loop(unfinished, step, start)


def _without_scales(spec: symmetry.SymmetrySpec) -> symmetry.SymmetrySpec:
    """Return the symmetry that is left when all scales are balanced."""
    groups = {symmetry.Group.SCALE: symmetry.Group.PERMUTATION}
    spaces = tuple(
        dataclasses.replace(space, group=groups.get(space.group, space.group))
        for space in spec.spaces
    )
    return dataclasses.replace(spec, spaces=spaces)


def _compose_each(
    second: symmetry.GroupElement, first: symmetry.GroupElement, in_axes
) -> symmetry.GroupElement:
    """Compose along the networks, also where there is nothing that could move."""
    if not second and not first:
        return {}
    return jax.vmap(symmetry.compose, in_axes)(second, first)


def _take(elements: symmetry.GroupElement, index) -> symmetry.GroupElement:
    return jax.tree.map(lambda x: x[index], elements)


def _squared_distance(params_a: Params, params_b: Params) -> Array:
    squares = jax.tree.map(
        lambda a, b: jnp.sum((a - b) ** 2), dict(params_a), dict(params_b)
    )
    return jnp.stack(jax.tree.leaves(squares)).sum()
