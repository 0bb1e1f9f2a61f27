"""Straight-through estimation: the alignment whose midpoint has the least task loss.

Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, section 3.3:
the element is whatever weight matching makes of latent weights, and the latent weights
follow the gradient of the loss at the midpoint as if there were no matching between.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from symmerge_jax import merging, symmetry
from symmerge_jax.alignment import (
    _base,
    _data,
    _finite,
    _frame,
    _options,
    _projection,
    _search,
    _similarity,
    _weight_matching,
)
from symmerge_jax.typing import Array, Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class StraightThrough:
    """Minimise the task loss of the midpoint `(a + g.b) / 2` over the group.

    Latent weights `c` start at `a`. Each step

    1. matches `b` to `c`: `g` is improved by sweeps of weight matching, from where it
       was (`project`, space by space);
    2. takes the gradient of `loss_fn((a + g.b) / 2)` with respect to `g.b` on a random
       minibatch, and
    3. moves `c` by it (stochastic gradient descent with momentum): the estimator lets
       the gradient through the matching unchanged.

    The published method keeps the element with the least *minibatch* loss; here
    elements compete on samples that stay the same, so that luck with the batch does not
    win, and the start takes part: the result is never worse than `init` on them. The
    objective is the least midpoint loss so far on these samples, in units of `loss_fn`,
    at the start and after every `eval_every` steps; `converged` is False, as all steps
    are taken.

    Attributes:
      permute: allow permutations.
      rescale: allow signs, and balance positive scales. The balanced midpoint is a twin
        of the midpoint in the scales of `a`: their losses are equal.
      init: aligner whose element is the first; "weight_matching" for `WeightMatching`
        with the same `permute` and `rescale`.
      num_steps: number of steps.
      learning_rate: step size of the latent weights.
      momentum: of the gradient descent, in [0, 1).
      num_sweeps: sweeps of weight matching per step.
      batch_size: samples per step, drawn with replacement.
      eval_size: samples on which elements compete, drawn once; None for all data.
      eval_every: steps between evaluations; divides `num_steps`.

    Raises:
      ValueError: a number out of range; when called, a task without data or loss,
        or with fewer samples than are to be drawn.
    """

    permute: bool = True
    rescale: bool = True
    init: _base.Aligner | Literal["weight_matching"] = "weight_matching"
    num_steps: int = 1000
    learning_rate: float = 1e-2
    momentum: float = 0.9
    num_sweeps: int = 1
    batch_size: int = 100
    eval_size: int | None = None
    eval_every: int = 10

    def __post_init__(self):
        name = type(self).__name__
        if self.init != "weight_matching":
            _options.check_aligner(name, "init", self.init)
        _search.check_steps(
            name,
            self.num_steps,
            self.eval_every,
            learning_rate=self.learning_rate,
            num_sweeps=self.num_sweeps,
            batch_size=self.batch_size,
            eval_size=1 if self.eval_size is None else self.eval_size,
        )
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"{name}: momentum must be in [0, 1), got {self.momentum}."
            )

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        _finite.check_problem(problem, type(self).__name__)
        drawn = {"batch_size": self.batch_size, "eval_size": self.eval_size}
        loss_fn = _data.check_loss(problem, type(self).__name__, drawn)
        problem, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        init_key, eval_key, step_key = jax.random.split(key, 3)
        init = self.init
        if init == "weight_matching":
            init = _weight_matching.WeightMatching(
                permute=self.permute, rescale=self.rescale
            )
        start = symmetry.unit_scales(init(init_key, problem).element, problem.spec)
        eval_data = _data.subset(eval_key, problem.task.data, self.eval_size)
        optimizer = optax.sgd(self.learning_rate, self.momentum)

        def midpoint_loss(moved: Params, data) -> Array:
            return loss_fn(merging.interpolate(problem.params_a, moved, 0.5), data)

        def step(key: Key, state: _State, index: Array) -> _State:
            del index
            element = self._match(state, problem)
            moved = symmetry.act(element, problem.params_b, problem.spec)
            batch = _data.minibatch(key, problem.task.data, self.batch_size)
            gradient = jax.grad(midpoint_loss)(moved, batch)
            updates, memory = optimizer.update(gradient, state.memory)
            latent = jax.tree.map(jnp.add, state.latent, updates)
            return _State(latent, memory, element)

        def evaluate(element: symmetry.GroupElement) -> Array:
            moved = symmetry.act(element, problem.params_b, problem.spec)
            return midpoint_loss(moved, eval_data)

        latent = problem.params_a
        element, objective = _search.keep_best(
            step_key,
            _State(latent, optimizer.init(latent), start),
            step,
            lambda state: state.element,
            evaluate,
            num_steps=self.num_steps,
            eval_every=self.eval_every,
        )
        result = _base.AlignmentResult(
            element=carry_back(element),
            objective=objective,
            converged=jnp.zeros((), bool),
            num_iters=jnp.full((), self.num_steps, jnp.int32),
            start_objectives=objective[-1:],
        )
        return _finite.finish(
            result,
            jnp.isfinite(objective[-1]),
            f"{type(self).__name__}: the loss of the midpoint is not finite for any"
            " element.",
        )

    def _match(self, state: "_State", problem) -> symmetry.GroupElement:
        """Match `b` to the latent weights, from the present element."""
        element = state.element
        for _ in range(self.num_sweeps):
            for space in problem.spec.movable_spaces:
                name = space.name
                moved = _similarity.move_others(
                    element, problem.params_b, problem.spec, name
                )
                similarity, kept = _similarity.compare(
                    state.latent, moved, problem.spec, name
                )
                monomial = _projection.project(
                    similarity,
                    space.group,
                    unsigned=kept,
                    permute=self.permute,
                    rescale=self.rescale,
                )
                element = {**element, name: monomial}
        return element


class _State(NamedTuple):
    """Latent weights, memory of the optimiser, and the element of the last step."""

    latent: Params
    memory: optax.OptState
    element: symmetry.GroupElement
