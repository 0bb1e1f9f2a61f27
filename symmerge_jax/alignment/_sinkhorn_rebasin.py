"""Sinkhorn re-basin: gradient descent on relaxed elements.

Peña et al. 2023, *Re-basin via implicit Sinkhorn differentiation*, CVPR, arXiv
2212.12042. Doubly stochastic matrices stand for permutations and are learned; a task
loss can be minimised as well as a distance. Signs are relaxed as described in `relax`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
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
    _relaxation,
    _search,
    _units,
)
from symmerge_jax.typing import Array, Key, Params

COSTS = ("l2", "midpoint", "random_lambda")
GRADIENTS = ("implicit", "unrolled")
EVALUATED_LAMBDAS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Midpoints of five equal parts of [0, 1], on which "random_lambda" is evaluated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinkhornRebasin:
    """Learn one similarity matrix per space by gradient descent through `relax`.

    With `M` the relaxed elements of the similarities, Adam minimises

    - "l2": `||a - M.b||^2`, without any data;
    - "midpoint": the task loss of `(a + M.b) / 2` on a minibatch;
    - "random_lambda": that of `(1 - lam) a + lam M.b`, `lam` uniform in [0, 1] and
      drawn anew in every step.

    Every `eval_every` steps the similarities are projected to an element, and the best
    element by the same cost wins, the first included; task losses are compared on
    samples that stay the same, and "random_lambda" by its mean over five values of
    `lam`. That is the objective: squared weights (in balanced scales, if there are
    `Group.SCALE` spaces and `rescale` is set) or units of `loss_fn`, the least so far,
    at the start and after every `eval_every` steps. `converged` is False, as all steps
    are taken.

    Unlike the published code the optimiser does not decay the similarities, which would
    pull towards the barycentre, and the temperature may fall, which leads from the
    inside of the hull to its vertices.

    Attributes:
      cost: "l2", "midpoint" or "random_lambda".
      permute: allow permutations.
      rescale: allow signs, and balance positive scales.
      init: aligner whose element is relaxed as the start; "identity" for the identity
        with normal noise of standard deviation 0.1, as published.
      similarity_fn: `similarity_fn(params_a, params_b) -> {space: [n, n]}` gives the
        first similarities themselves, for example with a network that was trained to
        align (Navon et al. 2024, arXiv 2310.13397); rows are for `a`, and both networks
        are passed as they are in the problem. None for the start of `init`.
      init_weight: weight that the relaxed matrix of an aligner's element has about on
        each chosen entry, in (0.5, 1).
      num_steps: number of steps.
      learning_rate: step size of Adam, in the unit of the similarities.
      temperature: of the relaxation, in the unit of the similarities.
      final_temperature: reached geometrically at the last step; None for a constant
        temperature.
      sinkhorn_iters: Sinkhorn iterations.
      gradient: "implicit" or "unrolled", see `assignment.sinkhorn`.
      batch_size: samples per step, drawn with replacement.
      eval_size: samples on which elements compete, drawn once; None for all data.
      eval_every: steps between evaluations; divides `num_steps`.

    Raises:
      ValueError: an unknown name or a number out of range; when called, similarities
        that do not fit the spec, or, but for "l2", a task without data or loss or
        with fewer samples than are to be drawn.
    """

    cost: str = "l2"
    permute: bool = True
    rescale: bool = True
    init: _base.Aligner | Literal["identity"] = "identity"
    similarity_fn: Callable[[Params, Params], Mapping[str, Array]] | None = None
    init_weight: float = 0.9
    num_steps: int = 1000
    learning_rate: float = 0.1
    temperature: float = 1.0
    final_temperature: float | None = 0.1
    sinkhorn_iters: int = 20
    gradient: str = "implicit"
    batch_size: int = 100
    eval_size: int | None = None
    eval_every: int = 10

    def __post_init__(self):
        name = type(self).__name__
        _options.check_name(name, "cost", self.cost, COSTS)
        _options.check_name(name, "gradient", self.gradient, GRADIENTS)
        if not 0.5 < self.init_weight < 1:
            raise ValueError(
                f"{name}: init_weight must be in (0.5, 1), got {self.init_weight}."
            )
        if self.init != "identity":
            _options.check_aligner(name, "init", self.init)
            if self.similarity_fn is not None:
                raise ValueError(f"{name}: give `init` or `similarity_fn`, not both.")
        last = self.final_temperature
        _search.check_steps(
            name,
            self.num_steps,
            self.eval_every,
            learning_rate=self.learning_rate,
            temperature=self.temperature,
            final_temperature=self.temperature if last is None else last,
            sinkhorn_iters=self.sinkhorn_iters,
            batch_size=self.batch_size,
            eval_size=1 if self.eval_size is None else self.eval_size,
        )

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        _finite.check_problem(problem, type(self).__name__)
        loss_fn = None
        if self.cost != "l2":
            drawn = {"batch_size": self.batch_size, "eval_size": self.eval_size}
            loss_fn = _data.check_loss(problem, type(self).__name__, drawn)
        given = self._given(problem)
        problem, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        init_key, eval_key, step_key = jax.random.split(key, 3)
        eval_data = None
        if loss_fn is not None:
            eval_data = _data.subset(eval_key, problem.task.data, self.eval_size)
        optimizer = optax.adam(self.learning_rate)
        spec, unit = problem.spec, _base.unit_of(problem)

        def loss_between(moved, lam, data) -> Array:
            assert loss_fn is not None
            return loss_fn(merging.interpolate(problem.params_a, moved, lam), data)

        def relaxed_cost(similarities, temperature, key) -> Array:
            matrices = self._relax(similarities, spec, temperature)
            moved = symmetry.act_dense(matrices, problem.params_b, spec)
            if self.cost == "l2":
                return _base.squared_difference(problem.params_a, moved, spec, unit)
            lam_key, batch_key = jax.random.split(key)
            draws = self.cost == "random_lambda"
            lam = jax.random.uniform(lam_key) if draws else 0.5
            batch = _data.minibatch(batch_key, problem.task.data, self.batch_size)
            return loss_between(moved, lam, batch)

        def step(key: Key, state: _State, index: Array) -> _State:
            gradient = jax.grad(relaxed_cost)(
                state.similarities, self._temperature_at(index), key
            )
            with jax.numpy_dtype_promotion("standard"):  # which optax needs
                updates, memory = optimizer.update(gradient, state.memory)
            return _State(jax.tree.map(jnp.add, state.similarities, updates), memory)

        def evaluate(element: symmetry.GroupElement) -> Array:
            if self.cost == "l2":
                return _base.squared_distance(element, problem, unit)
            moved = symmetry.act(element, problem.params_b, spec)
            lambdas = EVALUATED_LAMBDAS if self.cost == "random_lambda" else (0.5,)
            losses = [loss_between(moved, lam, eval_data) for lam in lambdas]
            return jnp.mean(jnp.stack(losses))

        similarities = given or self._start(init_key, problem)
        element, objective = _search.keep_best(
            step_key,
            _State(similarities, optimizer.init(similarities)),
            step,
            lambda state: self._project(state.similarities, spec),
            evaluate,
            num_steps=self.num_steps,
            eval_every=self.eval_every,
        )
        valid = jnp.isfinite(objective[-1])
        if self.cost == "l2":
            objective = _units.restore(objective, unit)
        result = _base.AlignmentResult(
            element=carry_back(element),
            objective=objective,
            converged=jnp.zeros((), bool),
            num_iters=jnp.full((), self.num_steps, jnp.int32),
            start_objectives=objective[-1:],
        )
        return _finite.finish(
            result,
            valid,
            f"{type(self).__name__}: the cost '{self.cost}' is not finite for any"
            " element, or the similarities are not.",
        )

    def _given(self, problem: _base.AlignmentProblem) -> dict[str, Array]:
        """Return the similarities of `similarity_fn`, checked; nothing without it."""
        if self.similarity_fn is None:
            return {}
        found = self.similarity_fn(problem.params_a, problem.params_b)
        sizes = problem.spec.sizes(problem.params_a)
        names = [space.name for space in problem.spec.movable_spaces]
        expected = {name: (sizes[name], sizes[name]) for name in names}
        shapes = {name: jnp.shape(matrix) for name, matrix in found.items()}
        if shapes != expected:
            raise ValueError(
                f"SinkhornRebasin: similarity_fn returns the shapes {shapes}, expected"
                f" {expected}."
            )
        dtype = jnp.result_type(*jax.tree.leaves(problem.params_a))
        return {name: jnp.asarray(found[name], dtype) for name in names}

    def _start(self, key, problem) -> dict[str, Array]:
        """Return the first similarities, from an aligner or near the identity."""
        spaces = problem.spec.movable_spaces
        sizes = problem.spec.sizes(problem.params_a)
        dtype = jnp.result_type(*jax.tree.leaves(problem.params_a))
        similarities = {}
        if self.init == "identity":
            for index, space in enumerate(spaces):
                n = sizes[space.name]
                space_key = jax.random.fold_in(key, index)
                noise = 0.1 * jax.random.normal(space_key, (n, n), dtype)
                similarities[space.name] = jnp.eye(n, dtype=dtype) + noise
            return similarities
        element = self.init(key, problem).element
        element = symmetry.unit_scales(element, problem.spec)
        for space in spaces:
            matrix = symmetry.as_matrix(element[space.name])
            odds = self.init_weight / (1 - self.init_weight)
            odds *= max(sizes[space.name] - 1, 1)
            signed = self.rescale and space.group is symmetry.Group.SIGN
            # Other entries weigh 2 cosh(0) = 2 with signs, exp(0) = 1 without.
            strength = self.temperature * math.log(2 * odds if signed else odds)
            similarities[space.name] = strength * matrix
        return similarities

    def _temperature_at(self, index: Array) -> Array | float:
        if self.final_temperature is None:
            return self.temperature
        ratio = self.final_temperature / self.temperature
        progress = index.astype(jnp.result_type(float)) / max(self.num_steps - 1, 1)
        return self.temperature * ratio**progress

    def _relax(self, similarities, spec, temperature) -> dict[str, Array]:
        return {
            name: _relaxation.relax(
                matrix,
                spec.space(name).group,
                temperature=temperature,
                num_iters=self.sinkhorn_iters,
                gradient=self.gradient,
                permute=self.permute,
                rescale=self.rescale,
            )
            for name, matrix in similarities.items()
        }

    def _project(self, similarities, spec) -> symmetry.GroupElement:
        return {
            name: _projection.project(
                matrix,
                spec.space(name).group,
                permute=self.permute,
                rescale=self.rescale,
            )
            for name, matrix in similarities.items()
        }


class _State(NamedTuple):
    """Similarities per space, and the memory of the optimiser."""

    similarities: dict[str, Array]
    memory: optax.OptState
