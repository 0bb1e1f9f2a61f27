"""Search by gradient steps that keeps the best group element on the way.

What a gradient moves lies between the elements of the group, and its loss says little
about the element it is rounded to. Solvers that learn an alignment therefore look at
*elements* from time to time, and return the best that they have seen.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _options
from symmerge_jax.typing import Array, Key

State = TypeVar("State")


def keep_best(
    key: Key,
    state: State,
    step: Callable[[Key, State, Array], State],
    propose: Callable[[State], symmetry.GroupElement],
    evaluate: Callable[[symmetry.GroupElement], Array],
    *,
    num_steps: int,
    eval_every: int,
) -> tuple[symmetry.GroupElement, Array]:
    """Take steps and return the best of the elements proposed on the way.

    Args:
      key: random key, split among the steps.
      state: whatever the steps change.
      step: `step(key, state, index) -> state`.
      propose: `propose(state) -> element`.
      evaluate: `evaluate(element) -> []`, to be minimised, the same for every call. An
        element that is no permutation (its similarity was not finite) or whose value
        is NaN is never the best.
      num_steps: number of steps.
      eval_every: steps between proposals; divides `num_steps`.

    Returns:
      The best element, and `[1 + num_steps / eval_every]` the least value so far: for
      the first state and after each proposal.
    """
    num_rounds = num_steps // eval_every
    state = jax.tree.map(jnp.asarray, state)

    def judge(element):
        valid = [jnp.all(monomial.perm >= 0) for monomial in element.values()]
        value = evaluate(element)
        is_valid = ~jnp.isnan(value) & jnp.all(jnp.asarray(valid, bool))
        return jnp.where(is_valid, value, jnp.inf)

    def take_steps(index, state):
        keys = jax.random.split(jax.random.fold_in(key, index), eval_every)
        numbers = index * eval_every + jnp.arange(eval_every)
        return jax.lax.scan(
            lambda state, inputs: (step(inputs[0], state, inputs[1]), None),
            state,
            (keys, numbers),
        )[0]

    def advance(carry, index):
        state, best, least = carry
        element = propose(state)
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
        lambda state: (propose(state), judge(propose(state))), state
    )
    unset = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
    least = jnp.full((), jnp.inf, value.dtype)
    (_, best, _), history = jax.lax.scan(
        advance, (state, unset, least), jnp.arange(num_rounds + 1)
    )
    return best, history


def check_steps(
    solver: str, num_steps: int, eval_every: int, **positive: float | int
) -> None:
    """Refuse numbers of steps that do not divide, and options that are not positive."""
    for name, value in positive.items():
        _options.check_number(solver, name, value)
        if not value > 0:
            raise ValueError(f"{solver}: {name} must be > 0, got {value}.")
    _options.check_integer(solver, "num_steps", num_steps, 1)
    _options.check_integer(solver, "eval_every", eval_every, 1)
    if num_steps % eval_every:
        raise ValueError(
            f"{solver}: num_steps must be a multiple of eval_every, got {num_steps} and"
            f" {eval_every}."
        )
