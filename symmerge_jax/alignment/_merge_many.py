"""Each network to the mean of the others, in turn."""

import dataclasses

import jax
import numpy as np

from symmerge_jax.alignment import _base, _many, _weight_matching
from symmerge_jax.typing import Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeMany:
    """Bring networks together by aligning each to the mean of the others, in turn.

    Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, algorithm 3:
    a sweep visits all networks in random order; the search ends after a sweep that does
    not lower the spread. Of two networks the second is aligned to the first. Differs
    from the publication in three points: means are weighted, signs and balanced scales
    are part of the problem, and a network only moves if that brings it closer to the
    mean.

    The random order matters when there are more than two networks: the first of them
    meet a mean of networks that are not aligned yet (compare `Universe`).

    Attributes:
      aligner: solver for the pairs (network, mean of the others), which reads `data`
        and functions of the problem.
      num_starts: number of random orders to try; the best spread wins.
      max_sweeps: upper bound on the number of sweeps from each start.

    Raises:
      ValueError: a number below one.
    """

    aligner: _base.Aligner = dataclasses.field(
        default_factory=_weight_matching.WeightMatching
    )
    num_starts: int = 1
    max_sweeps: int = 100

    def __post_init__(self):
        _many.check_counts(self.num_starts, self.max_sweeps)

    def __call__(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        return _many.solve(
            problem,
            jax.random.split(key, self.num_starts),
            self._sweep,
            min_sweeps=1,
            max_sweeps=self.max_sweeps,
        )

    def _sweep(self, key, count, crowd, problem) -> _many.Crowd:
        num_networks = len(problem.weights)
        order_key, align_key = jax.random.split(jax.random.fold_in(key, count))
        align_keys = jax.random.split(align_key, num_networks)

        def visit(crowd, number):
            reference = _many.mean_of_others(crowd.moved, problem.weights, number)
            found = _many.move_closer(
                self.aligner,
                align_keys[number],
                reference,
                jax.tree.map(lambda x: x[number], crowd),
                problem,
            )
            return jax.tree.map(lambda x, y: x.at[number].set(y), crowd, found), None

        order = jax.random.permutation(order_key, num_networks)
        if num_networks == 2:  # moving one of them is all there is
            order = np.array([1])
        return jax.lax.scan(visit, crowd, order)[0]
