"""Solvers for many networks: to the mean of the others, in turn or all at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _base, _checks, _many, _many_search, _weight_matching
from symmerge_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManyAligner:
    """What the solvers for many networks share; `MergeMany` and `Universe` are two.

    Attributes:
      aligner: solver for the pairs (network, reference), which reads the task of the
        problem.
      init: solver that moves every network onto the first one before all sweeps, such
        as a learned one; kept where it lowers the spread. None to start from the
        networks as they come.
      num_starts: number of searches; the best spread wins.
      max_sweeps: upper bound on the number of sweeps of each.

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
        name = type(self).__name__
        _checks.check_aligner(name, "aligner", self.aligner)
        if self.init is not None:
            _checks.check_aligner(name, "init", self.init)
        for field in ("num_starts", "max_sweeps"):
            _checks.check_integer(name, field, getattr(self, field), 1)

    def __call__(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        if not isinstance(problem, _many.ManyProblem):
            raise TypeError(
                f"{type(self).__name__} brings many networks together, as merge does;"
                " to align two, take a solver for pairs, such as WeightMatching()."
            )
        able = self.runs_on_host(len(problem.weights))
        on_host = able and programs.on_host(key, problem)
        return self._solve(key, programs.placed(problem, on_host=on_host))

    def runs_on_host(self, num_networks: int) -> bool:
        """See `WeightMatching.runs_on_host`."""
        del num_networks
        return False

    def _solve(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeMany(ManyAligner):
    """Bring networks together by aligning each to the mean of the others, in turn.

    Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, algorithm 3:
    a sweep visits all networks in random order; the search ends after a sweep that does
    not lower the spread. Differs from the publication in three points: means are
    weighted, signs and balanced scales are part of the problem, and a network only
    moves if that brings it closer to the mean. Without `init`, the first networks of
    the order meet a mean of networks that are not aligned yet (compare `Universe`).

    Of two networks without `init` the second is aligned to the first, once, and what
    the aligner finds is taken as it is: its own objective need not be the spread.

    Options are those of `ManyAligner`; `num_starts` counts random orders of three or
    more networks.
    """

    def _solve(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        if len(problem.weights) == 2 and self.init is None:
            return _many_search.solve_pair(self.aligner, key, problem)
        return _many_search.solve(
            problem,
            jax.random.split(key, self.num_starts),
            self._sweep,
            min_sweeps=1,
            max_sweeps=self.max_sweeps,
            init=self.init,
            init_key=jax.random.fold_in(key, self.num_starts),
        )

    def runs_on_host(self, num_networks: int) -> bool:
        """See `WeightMatching.runs_on_host`."""
        able = getattr(self.aligner, "runs_on_host", lambda num_networks: False)
        return self.init is None and able(num_networks)

    def _sweep(
        self,
        key: Key,
        count: Array,
        moved: _many_search.Moved,
        problem: _many.ManyProblem,
    ) -> _many_search.Moved:
        num_networks = len(problem.weights)
        order_key, align_key = jax.random.split(jax.random.fold_in(key, count))
        align_keys = jax.random.split(align_key, num_networks)

        def visit(moved, number):
            reference = _many_search.mean_of_others(
                moved.params, problem.weights, number
            )
            closer = _many_search.move_closer(
                self.aligner,
                align_keys[number],
                reference,
                symmetry.rows(moved, number),
                problem,
            )
            return jax.tree.map(lambda x, y: x.at[number].set(y), moved, closer), None

        order = jax.random.permutation(order_key, num_networks)
        return jax.lax.scan(visit, moved, order)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Universe(ManyAligner):
    """Bring networks together by aligning all of them to a common reference at once.

    In the first sweep the reference is one of the networks. From then on every network
    is aligned to the mean of the others, all at once under `jax.vmap`; a sweep counts
    if it lowers the spread, otherwise the search ends. (The mean of all is no good
    reference: it holds every network where it is, the more the fewer there are.)
    Time is linear in the number of networks, none is matched to every other.

    The common space is the "universe" of permutation synchronisation; Crisostomi et al.
    2024 (*C2M3*, arXiv 2405.17897) search it by Frank-Wolfe steps over all spaces, for
    permutations.

    Options are those of `ManyAligner`; `num_starts` networks, drawn at random, serve as
    first reference, each at most once.
    """

    def _solve(self, key: Key, problem: _many.ManyProblem) -> _many.ManyResult:
        num_networks = len(problem.weights)
        if self.num_starts > num_networks:
            raise ValueError(
                f"Universe(num_starts={self.num_starts}) takes every network as first"
                f" reference at most once, and there are {num_networks}."
            )
        draw_key, sweep_key = jax.random.split(key)
        first = jax.random.permutation(draw_key, num_networks)[: self.num_starts]
        return _many_search.solve(
            problem,
            (jax.random.split(sweep_key, self.num_starts), first),
            self._sweep,
            min_sweeps=2,
            max_sweeps=self.max_sweeps,
            init=self.init,
            init_key=jax.random.fold_in(key, self.num_starts),
        )

    def _sweep(
        self,
        start: Any,
        count: Array,
        moved: _many_search.Moved,
        problem: _many.ManyProblem,
    ) -> _many_search.Moved:
        key, first = start
        num_networks = len(problem.weights)

        def align(key, number, present):
            others = _many_search.mean_of_others(moved.params, problem.weights, number)
            reference = jax.tree.map(
                lambda x, y: jnp.where(count == 0, x[first], y), moved.params, others
            )
            return _many_search.move_closer(
                self.aligner, key, reference, present, problem
            )

        keys = jax.random.split(jax.random.fold_in(key, count), num_networks)
        return jax.vmap(align)(keys, jnp.arange(num_networks), moved)
