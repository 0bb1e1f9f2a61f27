"""Search by gradient steps that keeps the best group element on the way.

What a gradient moves lies between the elements of the group, and its loss says little
about the element it is rounded to. Solvers that learn an alignment therefore look at
*elements* from time to time, and return the best that they have seen.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _checks, _frame, _units
from symmerge_jax.typing import Array, Key, Params


class Plan(NamedTuple):
    """What a search does.

    Attributes:
      state: whatever the steps change, at the start.
      step: `step(key, state, index) -> state`.
      propose: `propose(state) -> element`.
      evaluate: `evaluate(element) -> []`, to be minimised, the same for every call. An
        element that is not a permutation (its similarity was not finite) or whose value
        is NaN is never the best.
      unit: of weights whose squares are evaluated; None for losses.
    """

    state: Any
    step: Callable[[Key, Any, Array], Any]
    propose: Callable[[Any], symmetry.GroupElement]
    evaluate: Callable[[symmetry.GroupElement], Array]
    unit: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientSearch:
    """What solvers by gradient descent share: `StraightThrough`, `SinkhornRebasin`.

    At the start and after every `eval_every` steps an element is proposed, and the best
    one wins. The objective is the least value so far; losses are compared on samples
    that stay the same, so that luck with a batch does not win. `converged` is False, as
    all steps are taken.

    Attributes:
      permute: allow permutations.
      rescale: allow signs, and balance positive scales.
      num_steps: number of steps.
      learning_rate: step size.
      batch_size: samples per step, drawn with replacement.
      eval_size: samples on which elements compete, drawn once; None for all data.
      eval_every: steps between evaluations; divides `num_steps`.

    Raises:
      ValueError: an unknown name or a number out of range; when called, a task without
        data or loss, where these are needed, or with fewer samples than are drawn.
    """

    permute: bool = True
    rescale: bool = True
    num_steps: int = 1000
    learning_rate: float = 0.1
    batch_size: int = 100
    eval_size: int | None = None
    eval_every: int = 10

    def _check_options(self, **positive: float | int) -> None:
        """Refuse steps that do not divide, and numbers that are not positive."""
        name = type(self).__name__
        positive |= {
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "eval_size": 1 if self.eval_size is None else self.eval_size,
        }
        for option, value in positive.items():
            _checks.check_number(name, option, value)
            if not value > 0:
                raise ValueError(f"{name}: {option} must be > 0, got {value}.")
        _checks.check_integer(name, "num_steps", self.num_steps, 1)
        _checks.check_integer(name, "eval_every", self.eval_every, 1)
        if self.num_steps % self.eval_every:
            raise ValueError(
                f"{name}: num_steps must be a multiple of eval_every, got"
                f" {self.num_steps} and {self.eval_every}."
            )

    @property
    def _uses_loss(self) -> bool:
        return True

    def _plan(
        self,
        key: Key,
        given: _base.AlignmentProblem,
        problem: _base.AlignmentProblem,
        eval_data: Any,
    ) -> Plan:
        """Return the search for a problem, as given and in balanced scales."""
        raise NotImplementedError

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        name = type(self).__name__
        problem = _checks.check_problem(problem, name, relaxed=True)
        if self._uses_loss:
            drawn = {"batch_size": self.batch_size, "eval_size": self.eval_size}
            _checks.check_loss(problem, name, drawn)
        balanced, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        init_key, eval_key, step_key = jax.random.split(key, 3)
        eval_data = None
        if self._uses_loss:
            eval_data = subset(eval_key, problem.task.data, self.eval_size)
        plan = self._plan(init_key, problem, balanced, eval_data)
        num_rounds = self.num_steps // self.eval_every
        element, objective = _keep_best(step_key, plan, num_rounds, self.eval_every)
        valid = jnp.isfinite(objective[-1])
        if plan.unit is not None:
            objective = _units.restore(objective, plan.unit)
        result = _base.AlignmentResult(
            element=carry_back(element),
            objective=objective,
            converged=jnp.zeros((), bool),
            num_iters=jnp.full((), self.num_steps, jnp.int32),
            start_objectives=objective[-1:],
        )
        message = "the objective is not finite for any element, or similarities are not"
        return _checks.finish(result, valid, f"{name}: {message}.")


def _keep_best(
    key: Key, plan: Plan, num_rounds: int, eval_every: int
) -> tuple[symmetry.GroupElement, Array]:
    """Return the best element, and the least values so far `[1 + num_rounds]`."""
    state = jax.tree.map(jnp.asarray, plan.state)

    def judge(element):
        valid = [jnp.all(monomial.perm >= 0) for monomial in element.values()]
        value = plan.evaluate(element)
        is_valid = ~jnp.isnan(value) & jnp.all(jnp.asarray(valid, bool))
        return jnp.where(is_valid, value, jnp.inf)

    def take_steps(index, state):
        keys = jax.random.split(jax.random.fold_in(key, index), eval_every)
        numbers = index * eval_every + jnp.arange(eval_every)
        return jax.lax.scan(
            lambda state, inputs: (plan.step(inputs[0], state, inputs[1]), None),
            state,
            (keys, numbers),
        )[0]

    def advance(carry, index):
        state, best, least = carry
        element = plan.propose(state)
        value = judge(element)
        better = (value < least) | (index == 0)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), element, best)
        least = jnp.where(better, value, least)
        # No steps after the last proposal; one loop compiles `propose` only once.
        state = jax.lax.cond(
            index < num_rounds, take_steps, lambda index, state: state, index, state
        )
        return (state, best, least), least

    nothing, value = jax.eval_shape(
        lambda state: (plan.propose(state), judge(plan.propose(state))), state
    )
    unset = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
    least = jnp.full((), jnp.inf, value.dtype)
    (_, best, _), history = jax.lax.scan(
        advance, (state, unset, least), jnp.arange(num_rounds + 1)
    )
    return best, history


def minibatch(key: Key, data: Any, size: int) -> Any:
    """Return `size` samples of the data, drawn with replacement."""
    return _take(data, jax.random.randint(key, (size,), 0, symmetry.num_rows(data)))


def subset(key: Key, data: Any, size: int | None) -> Any:
    """Return `size` different samples of the data in random order; None for all."""
    if size is None:
        return data
    num_samples = symmetry.num_rows(data)
    return _take(data, jax.random.choice(key, num_samples, (size,), replace=False))


def _take(data: Params, chosen: Array) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), chosen, axis=0), data)
