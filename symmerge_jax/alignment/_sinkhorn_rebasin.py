"""Sinkhorn re-basin: gradient descent on relaxed elements.

Peña et al. 2023, *Re-basin via implicit Sinkhorn differentiation*, CVPR, arXiv
2212.12042. Doubly stochastic matrices stand for permutations and are learned; a task
loss can be minimised as well as a distance. Signs are relaxed as described in `relax`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from symmerge_jax import merging, symmetry
from symmerge_jax.alignment import (
    _base,
    _checks,
    _projection,
    _search,
)
from symmerge_jax.typing import Array, Key, Params

COSTS = ("l2", "midpoint", "random_lambda")
GRADIENTS = ("implicit", "unrolled")
EVALUATED_LAMBDAS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Midpoints of five equal parts of [0, 1], on which "random_lambda" is evaluated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinkhornRebasin(_search.GradientSearch):
    """Learn one similarity matrix per space by gradient descent through `relax`.

    With `M` the relaxed elements of the similarities, Adam minimises

    - "l2": `||a - M.b||^2`, without any data;
    - "midpoint": the task loss of `(a + M.b) / 2` on a minibatch;
    - "random_lambda": that of `(1 - lam) a + lam M.b`, `lam` uniform in [0, 1] and
      drawn anew in every step.

    Proposed elements are projections of the similarities, and compete by the same cost;
    "random_lambda" by its mean over five values of `lam`. That is the objective:
    squared weights (in balanced scales, if there are `Group.SCALE` spaces and `rescale`
    is set) or units of `loss_fn`.

    Unlike the published code the optimiser does not decay the similarities, which would
    pull towards the barycentre, and the temperature may fall, which leads from the
    inside of the hull to its vertices.

    Further options are those of `GradientSearch`; the step size is in the unit of the
    similarities.

    Attributes:
      cost: "l2", "midpoint" or "random_lambda".
      init: aligner whose element is relaxed as the start; "identity" for the identity
        with normal noise of standard deviation 0.1, as published.
      similarity_fn: `similarity_fn(params_a, params_b) -> {space: [n, n]}` gives the
        first similarities themselves, for example with a network that was trained to
        align (Navon et al. 2024, arXiv 2310.13397); rows are for `a`, and both networks
        are passed as they are in the problem. None for the start of `init`.
      init_weight: weight that the relaxed matrix of an aligner's element has about on
        each chosen entry, in (0.5, 1).
      temperature: of the relaxation, in the unit of the similarities.
      final_temperature: reached geometrically at the last step; None for a constant
        temperature.
      sinkhorn_iters: Sinkhorn iterations.
      gradient: "implicit" or "unrolled", see `assignment.sinkhorn`.
    """

    cost: str = "l2"
    init: _base.Aligner | Literal["identity"] = "identity"
    similarity_fn: Callable[[Params, Params], Mapping[str, Array]] | None = None
    init_weight: float = 0.9
    temperature: float = 1.0
    final_temperature: float | None = 0.1
    sinkhorn_iters: int = 20
    gradient: str = "implicit"

    def __post_init__(self):
        name = type(self).__name__
        _checks.check_name(name, "cost", self.cost, COSTS)
        _checks.check_name(name, "gradient", self.gradient, GRADIENTS)
        if not 0.5 < self.init_weight < 1:
            raise ValueError(
                f"{name}: init_weight must be in (0.5, 1), got {self.init_weight}."
            )
        if self.init != "identity":
            _checks.check_aligner(name, "init", self.init)
            if self.similarity_fn is not None:
                raise ValueError(f"{name}: give `init` or `similarity_fn`, not both.")
        last = self.final_temperature
        self._check_options(
            temperature=self.temperature,
            final_temperature=self.temperature if last is None else last,
            sinkhorn_iters=self.sinkhorn_iters,
        )

    @property
    def _uses_loss(self) -> bool:
        return self.cost != "l2"

    def _plan(self, key, given, problem, eval_data) -> _search.Plan:
        optimizer = optax.adam(self.learning_rate)
        spec, unit = problem.spec, _base.unit_of(problem)
        loss_fn: Any = problem.task.loss_fn

        def loss_between(moved, lam, data) -> Array:
            return loss_fn(merging.interpolate(problem.params_a, moved, lam), data)

        def relaxed_cost(similarities, temperature, key) -> Array:
            matrices = self._relax(similarities, spec, temperature)
            moved = symmetry.act_dense(matrices, problem.params_b, spec)
            if self.cost == "l2":
                return _base.squared_difference(problem.params_a, moved, spec, unit)
            lam_key, batch_key = jax.random.split(key)
            draws = self.cost == "random_lambda"
            lam = jax.random.uniform(lam_key) if draws else 0.5
            batch = _search.minibatch(batch_key, problem.task.data, self.batch_size)
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

        similarities = self._given(given) or self._start(key, problem)
        return _search.Plan(
            _State(similarities, optimizer.init(similarities)),
            step,
            lambda state: self._project(state.similarities, spec),
            evaluate,
            unit if self.cost == "l2" else None,
        )

    def _given(self, problem: _base.AlignmentProblem) -> dict[str, Array]:
        """Return the similarities of `similarity_fn`, checked; nothing without it."""
        if self.similarity_fn is None:
            return {}
        found = self.similarity_fn(problem.params_a, problem.params_b)
        sizes = problem.spec.sizes(problem.params_a)
        names = [space.name for space in problem.spec.matched_spaces]
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
        sizes = problem.spec.sizes(problem.params_a)
        dtype = jnp.result_type(*jax.tree.leaves(problem.params_a))
        similarities = {}
        if self.init == "identity":
            for index, space in enumerate(problem.spec.matched_spaces):
                n = sizes[space.name]
                space_key = jax.random.fold_in(key, index)
                noise = 0.1 * jax.random.normal(space_key, (n, n), dtype)
                similarities[space.name] = jnp.eye(n, dtype=dtype) + noise
            return similarities
        element = self.init(key, problem).element
        element = symmetry.unit_scales(element, problem.spec)
        for space in problem.spec.matched_spaces:
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
            name: _projection.relax(
                matrix,
                spec.space(name).group,
                temperature=temperature,
                num_iters=self.sinkhorn_iters,
                gradient=self.gradient,
                permute=self.permute and spec.space(name).is_permuted,
                rescale=self.rescale,
            )
            for name, matrix in similarities.items()
        }

    def _project(self, similarities, spec) -> symmetry.GroupElement:
        return {
            name: _projection.project(
                matrix,
                spec.space(name).group,
                permute=self.permute and spec.space(name).is_permuted,
                rescale=self.rescale,
            )
            for name, matrix in similarities.items()
        }


class _State(NamedTuple):
    """Similarities per space, and the memory of the optimiser."""

    similarities: dict[str, Array]
    memory: optax.OptState
