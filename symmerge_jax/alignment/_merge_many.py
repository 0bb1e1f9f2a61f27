"""Each network to the mean of the others, in turn."""

import dataclasses

import jax

from symmerge_jax.alignment import _base, _crowd, _many, _weight_matching
from symmerge_jax.typing import Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeMany:
    """Bring networks together by aligning each to the mean of the others, in turn.

    Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, algorithm 3:
    a sweep visits all networks in random order; the search ends after a sweep that does
    not lower the spread. Differs from the publication in three points: means are
    weighted, signs and balanced scales are part of the problem, and a network only
    moves if that brings it closer to the mean. Without `init`, the first networks of
    the order meet a mean of networks that are not aligned yet (compare `Universe`).

    Of two networks the second is aligned to the first, once, and what the aligner finds
    is taken as it is: its own objective need not be the spread.

    Attributes:
      aligner: solver for the pairs (network, mean of the others), which reads `data`
        and functions of the problem.
      init: solver that moves every network onto the first one before all sweeps, such
        as a learned one; kept where it lowers the spread. With it, two networks pass
        the same search as more do.
      num_starts: number of random orders of three or more networks to try; the best
        spread wins.
      max_sweeps: upper bound on the number of sweeps from each start.

    Raises:
      TypeError: an option of another type, or a problem of two networks.
      ValueError: a number below one.
    """

    aligner: _base.Aligner = dataclasses.field(
        default_factory=_weight_matching.WeightMatching
    )
    init: _base.Aligner | None = None
    num_starts: int = 1
    max_sweeps: int = 100

    def __post_init__(self):
        _crowd.check_options(self)

    def __call__(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        _crowd.check_problem(problem, type(self).__name__)
        if len(problem.weights) == 2 and self.init is None:
            return _crowd.solve_pair(self.aligner, key, problem)
        return _crowd.solve(
            problem,
            jax.random.split(key, self.num_starts),
            self._sweep,
            min_sweeps=1,
            max_sweeps=self.max_sweeps,
            init=self.init,
            init_key=jax.random.fold_in(key, self.num_starts),
        )

    def _sweep(self, key, count, crowd, problem) -> _crowd.Crowd:
        num_networks = len(problem.weights)
        order_key, align_key = jax.random.split(jax.random.fold_in(key, count))
        align_keys = jax.random.split(align_key, num_networks)

        def visit(crowd, number):
            reference = _crowd.mean_of_others(crowd.moved, problem.weights, number)
            found = _crowd.move_closer(
                self.aligner,
                align_keys[number],
                reference,
                jax.tree.map(lambda x: x[number], crowd),
                problem,
            )
            return jax.tree.map(lambda x, y: x.at[number].set(y), crowd, found), None

        order = jax.random.permutation(order_key, num_networks)
        return jax.lax.scan(visit, crowd, order)[0]
