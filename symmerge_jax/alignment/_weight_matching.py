"""Weight matching: coordinate descent over the spaces, for every group.

Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, algorithm 1:
hold all spaces but one, solve the assignment problem of that one exactly, go round
until nothing improves. The published method knows permutations, starts from the
identity and stops at whatever local optimum it meets. Here signs are part of the same
problem, scales are balanced before, and the best of several starts wins.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import (
    _base,
    _checks,
    _fibres,
    _frame,
    _projection,
    _scales,
    _similarity,
    _starts,
    _units,
)
from symmerge_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightMatching:
    """Find the element that minimises `||a - g.b||^2`, without any data.

    Each step solves one space exactly (`project`), so the objective never rises (except
    by matched scales, which follow the norms of `a`); the search ends after a sweep
    that improves nothing. The objective of the result is the squared distance, in units
    of the squared weights; in balanced scales if these are balanced.

    Attributes:
      permute: allow permutations.
      rescale: allow signs and positive scales. `permute` alone is the published method
        (P), `rescale` alone D, both PD.
      scales: "balanced" moves both networks to their balanced scales and matches them
        there; "matched" leaves `a` as it is and gives each neuron of `b` the scale of
        its partner, again in every sweep.
      starts: named starts. "outward" matches space by space from the inputs on and does
        not depend on the order of the neurons; "identity" is the published one.
      num_random_starts: further starts at random elements.
      init: another aligner, whose element is one more start; for example
        `ActivationMatching()`.
      order: "forward" sweeps over the spaces from inputs to outputs; "random" draws an
        order for every sweep, as published.
      max_sweeps: bound on the sweeps from each start; 0 keeps the best start.

    Raises:
      ValueError: no start, an unknown name, or a number out of range.
    """

    permute: bool = True
    rescale: bool = True
    scales: str = "balanced"
    starts: tuple[str, ...] = ("outward", "identity")
    num_random_starts: int = 0
    init: _base.Aligner | None = None
    order: str = "forward"
    max_sweeps: int = 100

    def __post_init__(self):
        hint = ", and num_random_starts adds random ones"
        name = type(self).__name__
        _checks.check_names(name, "starts", self.starts, _starts.NAMES, hint=hint)
        for field in ("num_random_starts", "max_sweeps"):
            _checks.check_integer(name, field, getattr(self, field), 0)
        if self.init is not None:
            _checks.check_aligner(name, "init", self.init)
        if not self.starts and not self.num_random_starts and self.init is None:
            raise ValueError("WeightMatching needs a start: name one in `starts`.")
        _checks.check_name(name, "order", self.order, ("forward", "random"))
        _checks.check_name(name, "scales", self.scales, _checks.SCALES)

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        problem = _checks.check_problem(problem, type(self).__name__)
        if self.rescale and self.scales == "matched":
            _scales.check_spec(problem.spec)
        balance = self.rescale and self.scales == "balanced"
        problem, carry_back = _frame.common_scale(problem, rescale=balance)
        start_key, order_key = jax.random.split(key)
        starts = self._starts(start_key, problem)
        unit = _base.unit_of(problem)
        final = jax.vmap(self._descend, (0, 0, None, None))(
            jax.random.split(order_key, len(starts)),
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts),
            problem,
            unit,
        )
        reached = final.objective[:, -1]
        best = symmetry.rows(final, jnp.argmin(reached))
        result = _base.AlignmentResult(
            element=carry_back(best.element),
            objective=_units.restore(best.objective, unit),
            converged=~_unsettled(best),
            num_iters=best.num_sweeps,
            start_objectives=_units.restore(reached, unit),
        )
        return _checks.finish(
            result,
            jnp.all(jnp.isfinite(reached)),
            f"{type(self).__name__}: the distance of the networks is not finite.",
        )

    def _starts(self, key, problem) -> list[symmetry.GroupElement]:
        spec, options = problem.spec, dict(permute=self.permute, rescale=self.rescale)
        starts = []
        if "outward" in self.starts:
            pair = problem.params_a, problem.params_b
            starts.append(_starts.outward(*pair, spec, **options))
        if "identity" in self.starts:
            starts.append(_starts.identity(problem.params_a, spec))
        random_key, init_key = jax.random.split(key)
        for start_key in jax.random.split(random_key, self.num_random_starts):
            start = _starts.random(start_key, problem.params_a, spec, **options)
            starts.append(start)
        if self.init is not None:
            given = self.init(init_key, problem).element
            starts.append(symmetry.unit_scales(given, spec))
        return starts

    def _descend(self, key, start, problem, unit) -> "_State":
        """Sweep over the spaces from one start until nothing improves."""
        spaces = problem.spec.matched_spaces
        pair = problem.params_a, problem.params_b
        units = {
            space.name: _similarity.units_of(*pair, problem.spec, space.name)
            for space in spaces
        }

        def distance(spec, element):
            a, b = (symmetry.take_part(params, spec) for params in pair)
            moved = symmetry.act(symmetry.within(element, spec), b, spec)
            return _base.squared_difference(a, moved, spec, unit)

        step = functools.partial(self._step, problem, units, distance)

        def sweep(state: _State) -> _State:
            if self.order == "forward":
                for space in spaces:
                    state = step(space, True, state)
            else:
                order_key = jax.random.fold_in(key, state.num_sweeps)
                order = jax.random.permutation(order_key, len(spaces))
                for chosen in order:
                    # Lifted by `vmap`, all branches run: only one solves its problem.
                    branches = [
                        functools.partial(step, space, chosen == number)
                        for number, space in enumerate(spaces)
                    ]
                    state = jax.lax.switch(chosen, branches, state)
            num_sweeps = state.num_sweeps + 1
            later = jnp.arange(self.max_sweeps + 1) >= num_sweeps
            reached = distance(problem.spec, state.element)
            objective = jnp.where(later, reached, state.objective)
            return state._replace(objective=objective, num_sweeps=num_sweeps)

        objective = jnp.full(self.max_sweeps + 1, distance(problem.spec, start))
        stale = {space.name: jnp.ones((), bool) for space in spaces}
        state = _State(start, objective, stale, jnp.zeros((), int))
        return jax.lax.while_loop(
            lambda state: _unsettled(state) & (state.num_sweeps < self.max_sweeps),
            sweep,
            state,
        )

    def _step(self, problem, units, distance, space, due, state) -> "_State":
        """Solve one space exactly; keep its permutation unless that is better.

        Nothing is solved if the space is not due, or not stale.
        """
        inner = [s.name for s in _fibres.fibres(problem.spec, space)]
        where = state.stale[space.name] & due
        near = _similarity.around(problem.spec, space.name, *inner)
        spec, beside, (a, b) = _similarity.apart(
            near,
            space.name,
            symmetry.take_part(problem.params_a, near),
            symmetry.take_part(problem.params_b, near),
        )
        element = dict(state.element)
        others = symmetry.within(element, near)
        others = {n: g for n, g in others.items() if n not in (space.name, *inner)}
        if beside is not None:
            others[beside] = element[space.name]
        pair = a, symmetry.act(others, b, spec)
        options = dict(permute=self.permute, rescale=self.rescale, where=where)
        if inner or beside:
            found = _fibres.best_monomials(
                *pair, spec, space, units[space.name], **options
            )
            new, old = (distance(near, x) for x in (element | found, element))
            # Rounding must not pass for an improvement: equal neurons would cycle.
            better = where & (new < old * (1 - 8 * jnp.finfo(new.dtype).eps))
            moved = better
        else:
            found, better, moved = self._solve(
                pair, spec, space, units[space.name], element, where
            )
        element |= {
            name: jax.tree.map(
                lambda new, old: jnp.where(better[..., None], new, old),
                found[name],
                element[name],
            )
            for name in found
        }
        stale = {**state.stale, space.name: state.stale[space.name] & ~where}
        for changed in found:
            neighbours = _neighbours(problem.spec, changed)
            stale |= {n: stale[n] | moved for n in stale if n in neighbours}
        return state._replace(element=element, stale=stale)

    def _solve(self, pair, spec, space, units, element, where):
        """Return the monomial of a space, where it is better, and whether it moved."""
        (a, b), present = pair, element[space.name]
        scale_group = space.group is symmetry.Group.SCALE
        if self.rescale and self.scales == "matched" and scale_group:
            compared = _scales.scaled_similarity(a, b, spec, space.name)
            present = _scales.rescale(compared, present)
            found = _scales.project(compared, permute=self.permute, where=where)
            gain = functools.partial(_scales.gain, compared)
            size = jnp.sum(compared.written_norm + compared.read_norm)
        else:
            compared, kept = _similarity.compare(a, b, spec, space.name, units)
            found = _projection.project(
                compared,
                space.group,
                unsigned=kept,
                permute=self.permute and space.is_permuted,
                rescale=self.rescale,
                where=where,
            )
            gain = functools.partial(_projection.gain, compared, unsigned=kept)
            size = jnp.sum(jnp.abs(compared).max(-1), -1)
            size += 0 if kept is None else jnp.sum(jnp.abs(kept).max(-1), -1)
        eps = jnp.finfo(size.dtype).eps
        better = where & (gain(found) > gain(present) + 8 * eps * size)
        before = element[space.name].scale
        rescaled = jnp.any(jnp.abs(present.scale - before) > 64 * eps * before)
        element[space.name] = present
        moved = jnp.any(better) | (scale_group & rescaled)
        return {space.name: found}, better, moved


def _neighbours(spec, space: str) -> set[str]:
    """Return the other spaces that share a parameter with a space."""
    together = (
        {axis.space for axis in axes if axis is not None}
        for _, axes in spec.atomic_axes
    )
    return set().union(*(names for names in together if space in names)) - {space}


def _unsettled(state) -> Array:
    """Return whether any space may still improve, `[]`."""
    return functools.reduce(jnp.logical_or, state.stale.values(), jnp.zeros((), bool))


class _State(NamedTuple):
    """Where one descent stands.

    Attributes:
      element: the element reached.
      objective: `[max_sweeps + 1]` its history.
      stale: by space, `[]`: what its neurons are compared by was moved since it was
        last solved. A space that is not stale would be solved as before.
      num_sweeps: `[]` sweeps done.
    """

    element: symmetry.GroupElement
    objective: Array
    stale: Mapping[str, Array]
    num_sweeps: Array
