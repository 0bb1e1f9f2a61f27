"""Straight-through estimation: the alignment whose midpoint has the least task loss.

Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, section 3.3:
the element is whatever weight matching makes of latent weights, and the latent weights
follow the gradient of the loss at the midpoint as if there were no matching between.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from symmerge_jax import merging, symmetry
from symmerge_jax.alignment import (
    _base,
    _checks,
    _fibres,
    _search,
    _similarity,
    _weight_matching,
)
from symmerge_jax.typing import Array, Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class StraightThrough(_search.GradientSearch):
    """Minimise the task loss of the midpoint `(a + g.b) / 2` over the group.

    Latent weights `c` start at `a`. Each step

    1. matches `b` to `c`: `g` is improved by sweeps of weight matching, from where it
       was (`project`, space by space);
    2. takes the gradient of `loss_fn((a + g.b) / 2)` with respect to `g.b` on a random
       minibatch, and
    3. moves `c` by it (stochastic gradient descent with momentum): the estimator lets
       the gradient through the matching unchanged.

    The published method keeps the element with the least *minibatch* loss; here
    elements compete on samples that stay the same, and the start takes part: the result
    is never worse than `init` on them. The objective is the least midpoint loss so far,
    in units of `loss_fn`. The balanced midpoint is a twin of the midpoint in the scales
    of `a`: their losses are equal.

    Further options are those of `GradientSearch`.

    Attributes:
      init: aligner whose element is the first; "weight_matching" for `WeightMatching`
        with the same `permute` and `rescale`.
      momentum: of the gradient descent, in [0, 1).
      num_sweeps: sweeps of weight matching per step.
    """

    init: _base.Aligner | Literal["weight_matching"] = "weight_matching"
    learning_rate: float = 1e-2
    momentum: float = 0.9
    num_sweeps: int = 1

    def __post_init__(self):
        name = type(self).__name__
        if self.init != "weight_matching":
            _checks.check_aligner(name, "init", self.init)
        self._check_options(num_sweeps=self.num_sweeps)
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"{name}: momentum must be in [0, 1), got {self.momentum}."
            )

    def _plan(self, key, given, problem, eval_data) -> _search.Plan:
        loss_fn: Any = given.task.loss_fn
        init = self.init
        if init == "weight_matching":
            init = _weight_matching.WeightMatching(
                permute=self.permute, rescale=self.rescale
            )
        start = symmetry.unit_scales(init(key, problem).element, problem.spec)
        optimizer = optax.sgd(self.learning_rate, self.momentum)

        def midpoint_loss(moved: Params, data) -> Array:
            return loss_fn(merging.interpolate(problem.params_a, moved, 0.5), data)

        def step(key: Key, state: _State, index: Array) -> _State:
            del index
            element = self._match(state, problem)
            moved = symmetry.act(element, problem.params_b, problem.spec)
            batch = _search.minibatch(key, problem.task.data, self.batch_size)
            gradient = jax.grad(midpoint_loss)(moved, batch)
            updates, memory = optimizer.update(gradient, state.memory)
            latent = jax.tree.map(jnp.add, state.latent, updates)
            return _State(latent, memory, element)

        def evaluate(element: symmetry.GroupElement) -> Array:
            moved = symmetry.act(element, problem.params_b, problem.spec)
            return midpoint_loss(moved, eval_data)

        latent = problem.params_a
        state = _State(latent, optimizer.init(latent), start)
        return _search.Plan(state, step, lambda state: state.element, evaluate)

    def _match(self, state: "_State", problem) -> symmetry.GroupElement:
        """Match `b` to the latent weights, from the present element."""
        element = dict(state.element)
        for _ in range(self.num_sweeps):
            for space in problem.spec.matched_spaces:
                spec, beside, (a, b) = _similarity.apart(
                    problem.spec, space.name, state.latent, problem.params_b
                )
                aligned = element | ({beside: element[space.name]} if beside else {})
                moved = _similarity.move_others(aligned, b, spec, space.name)
                element |= _fibres.best_monomials(
                    a,
                    moved,
                    spec,
                    space,
                    permute=self.permute,
                    rescale=self.rescale,
                )
        return element


class _State(NamedTuple):
    """Latent weights, memory of the optimiser, and the element of the last step."""

    latent: Params
    memory: optax.OptState
    element: symmetry.GroupElement
