"""All networks to one common reference, at once."""

import dataclasses

import jax
import jax.numpy as jnp

from symmerge_jax.alignment import _base, _crowd, _many, _weight_matching
from symmerge_jax.typing import Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Universe:
    """Bring networks together by aligning all of them to a common reference at once.

    In the first sweep the reference is one of the networks. From then on every network
    is aligned to the mean of the others, all at once under `jax.vmap`; a sweep counts
    if it lowers the spread, otherwise the search ends. (The mean of all is no good
    reference: it holds every network where it is, the more the fewer there are.)
    Time is linear in the number of networks, none is matched to every other.

    The common space is the "universe" of permutation synchronisation; Crisostomi et al.
    2024 (*C2M3*, arXiv 2405.17897) search it by Frank-Wolfe steps over all spaces, for
    permutations.

    Attributes:
      aligner: solver for the pairs (network, reference), which reads `data` and
        functions of the problem.
      init: see `MergeMany`.
      num_starts: number of networks, drawn at random, that serve as first reference in
        a search of their own; the best spread wins. At most one per network.
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
        num_networks = len(problem.weights)
        if self.num_starts > num_networks:
            raise ValueError(
                f"Universe(num_starts={self.num_starts}) takes every network as first"
                f" reference at most once, and there are {num_networks}."
            )
        draw_key, sweep_key = jax.random.split(key)
        first = jax.random.permutation(draw_key, num_networks)[: self.num_starts]
        return _crowd.solve(
            problem,
            (jax.random.split(sweep_key, self.num_starts), first),
            self._sweep,
            min_sweeps=2,
            max_sweeps=self.max_sweeps,
            init=self.init,
            init_key=jax.random.fold_in(key, self.num_starts),
        )

    def _sweep(self, start, count, crowd, problem) -> _crowd.Crowd:
        key, first = start
        num_networks = len(problem.weights)

        def align(key, number, present):
            others = _crowd.mean_of_others(crowd.moved, problem.weights, number)
            reference = jax.tree.map(
                lambda x, y: jnp.where(count == 0, x[first], y), crowd.moved, others
            )
            return _crowd.move_closer(self.aligner, key, reference, present, problem)

        keys = jax.random.split(jax.random.fold_in(key, count), num_networks)
        return jax.vmap(align)(keys, jnp.arange(num_networks), crowd)
