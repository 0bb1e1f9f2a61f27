"""Frank-Wolfe: all spaces at once, through the inside of the convex hull of the group.

Crisostomi et al. 2024, *C2M3: Cycle-consistent multi-model merging*, NeurIPS, arXiv
2405.17897, section 3.1, for permutations of two networks. Coordinate descent (weight
matching) changes one space while all others are fixed at a vertex of the hull; here all
spaces move together by fractions of a step, and commit to a vertex at the end only. The
step is exact without a search, and signs are relaxed too.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.alignment import (
    _base,
    _checks,
    _frame,
    _projection,
    _similarity,
    _units,
)
from symmerge_jax.typing import Array, Key

STARTS = ("barycentre", "identity")

Matrices = dict[str, Array]
"""One relaxed element `[n, n]` per movable space."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrankWolfe:
    """Maximise `F(M) = <a, M.b>` over relaxed elements `M`, without any data.

    `M` has a matrix per space in the hull of its group (`symmetry.act_dense`). Each
    iteration

    1. takes the gradient: the similarity matrix of every space, the others being at
       their present matrices;
    2. finds the vertex `V` that it points to, one assignment problem per space;
    3. moves to the best point between `M` and `V`. `F` is linear in the matrix of each
       space, so along the segment it is a polynomial whose degree is the largest number
       of movable axes of one parameter: 2 for dense layers and convolutions. Value and
       slope at `M` and as many further values as are missing give its maximum exactly.

    It stops where the gap `<gradient, V - M>`, which is zero at every stationary point,
    is below the tolerance. The relaxed solution is then rounded space by space to the
    vertex that its similarity points to, the others held: as `F` is linear in each
    space, rounding does not lower it. (Where a space with signs is kept somewhere, at
    power 0, `|M|` stands for it, which is not linear: steps are then those of the
    polynomial through a few points, taken if they gain, and rounding is not bound.)

    The objective is `||a||^2 + ||b||^2 - 2 F`: at an element the squared distance
    `||a - g.b||^2` of `WeightMatching`, in balanced scales if there are `Group.SCALE`
    spaces and `rescale` is set. The last entry belongs to the rounded element.
    Deterministic: the key is not used. `WeightMatching(init=FrankWolfe())` polishes it.

    Attributes:
      permute: allow permutations.
      rescale: allow signs, and balance positive scales.
      starts: "barycentre", the mean of the group: `1 / n` everywhere for permutations,
        zero with signs, because every element meets its negative. At zero, weights
        between two movable spaces say nothing: inputs, outputs and biases break the
        tie, and a space that none of them touches stays at zero until its neighbours
        have moved. "identity" is a vertex. The best start wins.
      max_iters: bound on the steps from each start.
      tolerance: of the gap, relative to `(||a||^2 + ||b||^2) / 2`.

    Raises:
      ValueError: no start, an unknown one, a number out of range; when called, a
        parameter with more than three movable axes.
    """

    permute: bool = True
    rescale: bool = True
    starts: tuple[str, ...] = STARTS
    max_iters: int = 100
    tolerance: float = 1e-6

    def __post_init__(self):
        name = type(self).__name__
        _checks.check_names(name, "starts", self.starts, STARTS)
        _checks.check_integer(name, "max_iters", self.max_iters, 1)
        _checks.check_number(name, "tolerance", self.tolerance)
        if not self.starts:
            raise ValueError(f"{name} needs a start: name one of {STARTS} in `starts`.")
        if not self.tolerance >= 0:
            raise ValueError(f"{name}: tolerance must be >= 0, got {self.tolerance}.")

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        del key
        problem = _checks.check_problem(problem, type(self).__name__, relaxed=True)
        degree = _degree(problem.spec)
        problem, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        starts = [self._start(name, problem) for name in self.starts]
        unit = _base.unit_of(problem)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)

        def ascend(index):
            start = symmetry.rows(stacked, index)
            return self._round(
                self._ascend(start, problem, degree, unit), problem, unit
            )

        states, elements = jax.vmap(ascend)(jnp.arange(len(starts)))
        reached = states.objective[:, -1]
        best, element = symmetry.rows((states, elements), jnp.argmin(reached))
        result = _base.AlignmentResult(
            element=carry_back(element),
            objective=_units.restore(best.objective, unit),
            converged=~best.active,
            num_iters=best.num_steps,
            start_objectives=_units.restore(reached, unit),
        )
        return _checks.finish(
            result,
            jnp.all(jnp.isfinite(reached)),
            f"{type(self).__name__}: the distance of the networks is not finite.",
        )

    def _start(self, name: str, problem: _base.AlignmentProblem) -> Matrices:
        sizes = problem.spec.sizes(problem.params_a)
        dtype = jnp.result_type(*jax.tree.leaves(problem.params_a))
        matrices = {}
        for space in problem.spec.matched_spaces:
            n = sizes[space.name]
            matrix = jnp.eye(n, dtype=dtype)
            if name == "barycentre" and self.permute and space.is_permuted:
                matrix = jnp.full_like(matrix, 1 / n)
            if name == "barycentre" and self._is_signed(space):
                matrix = jnp.zeros_like(matrix)
            matrices[space.name] = matrix
        return matrices

    def _is_signed(self, space: symmetry.Space) -> bool:
        return self.rescale and space.group is symmetry.Group.SIGN

    def _ascend(self, start, problem, degree, unit) -> "_State":
        """Take Frank-Wolfe steps until the gap closes; all products in this unit."""

        def product(params_a, params_b):
            return _base.weighted_sum(
                jnp.multiply, params_a, params_b, problem.spec, unit
            )

        norm = product(problem.params_a, problem.params_a)
        norm += product(problem.params_b, problem.params_b)

        def value(matrices):
            moved = symmetry.act_dense(matrices, problem.params_b, problem.spec)
            return product(problem.params_a, moved)

        def step(state: _State) -> _State:
            direction, slope = self._direction(state, problem, unit)

            def move(length):
                return jax.tree.map(
                    lambda matrix, change: matrix + length * change,
                    state.matrices,
                    direction,
                )

            length = _exact_step(lambda t: value(move(t)), state.value, slope, degree)
            moved = move(length)
            new = value(moved)
            # At the end rounding decides: a step that gains nothing is not taken.
            better = (slope > self.tolerance * norm / 2) & (new > state.value)
            matrices = jax.tree.map(
                lambda new, old: jnp.where(better, new, old), moved, state.matrices
            )
            new = jnp.where(better, new, state.value)
            num_steps = state.num_steps + better.astype(state.num_steps.dtype)
            later = jnp.arange(len(state.objective), dtype=jnp.int32) >= num_steps
            objective = jnp.where(later, norm - 2 * new, state.objective)
            return _State(matrices, new, objective, better, num_steps)

        first = value(start)
        history = jnp.full(self.max_iters + 2, norm - 2 * first)
        zero = jnp.zeros((), jnp.int32)
        state = _State(start, first, history, jnp.asarray(bool(start)), zero)
        return jax.lax.while_loop(
            lambda state: state.active & (state.num_steps < self.max_iters), step, state
        )

    def _direction(self, state, problem, unit) -> tuple[Matrices, Array]:
        """Return the way to the vertex that the gradient points to, and the gap."""
        direction, slope = {}, jnp.zeros_like(state.value)
        for space in problem.spec.matched_spaces:
            matrix = state.matrices[space.name]
            turned, kept = _compare(state.matrices, problem, space.name)
            vertex = symmetry.as_matrix(
                self._vertex(turned, kept, space, where=state.active)
            )
            matters = jnp.any(turned != 0)
            gap = jnp.sum(turned * (vertex - matrix))
            if kept is not None:
                matters |= jnp.any(kept != 0)
                gap += jnp.sum(kept * (jnp.abs(vertex) - jnp.abs(matrix)))
            # The rows of a space have a unit of their own.
            own = _similarity.units_of(
                problem.params_a, problem.params_b, problem.spec, space.name
            )
            gap *= _units.divide(unit, own.a) * _units.divide(unit, own.b)
            # Without any preference a space waits for its neighbours.
            direction[space.name] = jnp.where(matters, vertex - matrix, 0)
            slope += gap
        return direction, slope

    def _vertex(self, turned, kept, space, where: Array | bool = True):
        return _projection.project(
            turned,
            space.group,
            unsigned=kept,
            permute=self.permute and space.is_permuted,
            rescale=self.rescale,
            where=where,
        )

    def _round(self, state, problem, unit) -> tuple["_State", symmetry.GroupElement]:
        """Commit to a vertex space by space, and append its objective."""
        matrices, element = state.matrices, {}
        for space in problem.spec.matched_spaces:
            compared = _compare(matrices, problem, space.name)
            element[space.name] = self._vertex(*compared, space)
            matrix = symmetry.as_matrix(element[space.name])
            matrices = {**matrices, space.name: matrix}
        distance = _base.squared_distance(element, problem, unit)
        return state._replace(objective=state.objective.at[-1].set(distance)), element


class _State(NamedTuple):
    """Where one ascent stands; `active` while the last step was worth taking."""

    matrices: Matrices
    value: Array
    objective: Array
    active: Array
    num_steps: Array


def _compare(
    matrices: Matrices, problem: _base.AlignmentProblem, name: str
) -> tuple[Array, Array | None]:
    """Return the gradient of `F` with respect to one space, as `project` takes it."""
    others = {other: m for other, m in matrices.items() if other != name}
    units = _similarity.units_of(problem.params_a, problem.params_b, problem.spec, name)
    spec, beside, (a, b) = _similarity.apart(
        problem.spec, name, problem.params_a, problem.params_b
    )
    if beside is not None:
        others[beside] = matrices[name]
    moved = symmetry.act_dense(others, b, spec)
    return _similarity.compare(a, moved, spec, name, units)


def _degree(spec: symmetry.SymmetrySpec) -> int:
    """Return the degree of `F` along a segment, at most three."""
    movable = {space.name for space in spec.matched_spaces}
    degree = 0
    for path, axes in spec.atomic_axes:
        names = [axis.space for axis in axes if axis is not None]
        found = sum(name in movable for name in names)
        if found > 3:
            raise ValueError(
                f"FrankWolfe: parameter '{symmetry.name(path)}' has {found} movable"
                f" axes {names}, which FrankWolfe does not support: use WeightMatching."
            )
        degree = max(degree, found)
    return degree


def _exact_step(value_at, value: Array, slope: Array, degree: int) -> Array:
    """Return the step in [0, 1] that maximises a polynomial of this degree.

    `p(t) = value + slope t + c_2 t^2 + c_3 t^3`; the unknown coefficients follow from
    as many further values. Candidates are the end and the roots of the derivative.
    """
    points = np.linspace(0, 1, max(degree, 1))[1:]
    higher = jnp.zeros(2, value.dtype)
    if degree > 1:
        rest = jnp.stack(
            [(value_at(t) - value - slope * t) / t**2 for t in points.tolist()]
        )
        inverse = np.linalg.inv(np.vander(points, increasing=True))
        higher = higher.at[: degree - 1].set(jnp.asarray(inverse, value.dtype) @ rest)
    # Roots of 3 c_3 t^2 + 2 c_2 t + slope, by the formula without cancellation; it
    # gives the single root of a quadratic p as well (c_3 = 0).
    a, b = 3 * higher[1], 2 * higher[0]
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * slope, 0))
    q = -(b + jnp.where(b < 0, -root, root)) / 2
    candidates = jnp.stack([jnp.ones_like(q), q / a, slope / q])
    inside = (candidates >= 0) & (candidates <= 1)  # false for NaN and infinities
    t = jnp.where(inside, candidates, 0)
    gains = slope * t + higher[0] * t**2 + higher[1] * t**3
    return t[jnp.argmax(gains)]
