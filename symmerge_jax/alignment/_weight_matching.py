"""Weight matching: coordinate descent over the spaces, for every group.

Ainsworth, Hayase and Srinivasa 2023, *Git Re-Basin*, arXiv 2209.04836, algorithm 1:
hold all spaces but one, solve the assignment problem of that one exactly, go round
until nothing improves. The published method knows permutations, starts from the
identity and stops at whatever local optimum it meets. Here signs are part of the same
problem, scales are balanced before, and the search starts where the networks are near.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import (
    _base,
    _checks,
    _descent,
    _frame,
    _scales,
    _starts,
    _units,
)
from symmerge_jax.typing import Key

COPIES = 16
"""Copies of a piece of an array that are in memory where two networks are streamed."""

MAX_COPIED = 2**26
"""Bytes of networks that are copied into balanced scales, which is quicker than to move
their parts at each look."""

MIN_MEMORY = 2**20
"""Least memory for copies, in bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightMatching:
    """Find the element that minimises `||a - g.b||^2`, without any data.

    Each step solves one space exactly (`project`), so the objective never rises (except
    by matched scales, which follow the norms of `a`); the search ends after a sweep
    that gains next to nothing. The objective of the result is the squared distance, in
    units of the squared weights; in balanced scales if these are balanced.

    A smaller distance is not always a better mean, so one search is made by default.
    Between narrow MLPs of MNIST, optima near the order in which neurons happen to be
    stored are 1 to 3 points less accurate at the midpoint than those found from the
    inputs on, at nearly the same distance, and sweeps that gain less than a few
    thousandths of it improve nothing (`python launch/benchmark.py apart`).

    On a CPU, for one pair outside of a compiled program, numpy does the whole search:
    nothing is compiled, and the arrays of the result are those of numpy.

    Networks with a space of more than 64 neurons are matched from one start after the
    other, and a start is given up when four sweeps like its last one would not bring it
    to the best so far; its entry in `start_objectives` is where it stood.

    Attributes:
      permute: allow permutations.
      rescale: allow signs and positive scales. `permute` alone is the published method
        (P), `rescale` alone D, both PD.
      scales: "balanced" moves both networks to their balanced scales and matches them
        there; "matched" leaves `a` as it is and gives each neuron of `b` the scale of
        its partner, again in every sweep.
      starts: named starts, of which the one with the least distance is taken. "outward"
        matches space by space from the inputs on and does not depend on the order of
        the neurons; "identity", the published one, is nearer where two networks are in
        one order already, as copies that were trained further.
      num_random_starts: further starts, at random elements.
      init: another aligner, whose element is one more start; for example
        `ActivationMatching()`.
      order: "forward" sweeps over the spaces from inputs to outputs; "random" draws an
        order for every sweep, as published.
      tolerance: a search ends after a sweep that lowers the distance by less than this
        share of it; 0 goes on until a sweep improves nothing, as published.
      max_sweeps: bound on the sweeps from each start; 0 keeps the best start.

    Raises:
      ValueError: no start, an unknown name, or a number out of range.
    """

    permute: bool = True
    rescale: bool = True
    scales: str = "balanced"
    starts: tuple[str, ...] = ("outward", "identity")
    num_random_starts: int = 0
    init: _base.Aligner | None = None
    order: str = "forward"
    tolerance: float = 2e-3
    max_sweeps: int = 100

    def __post_init__(self):
        hint = ", and num_random_starts adds random ones"
        name = type(self).__name__
        _checks.check_names(name, "starts", self.starts, _starts.NAMES, hint=hint)
        for field in ("num_random_starts", "max_sweeps"):
            _checks.check_integer(name, field, getattr(self, field), 0)
        _checks.check_number(name, "tolerance", self.tolerance)
        if not 0 <= self.tolerance < 1:
            raise ValueError(
                f"{name}: tolerance must lie in [0, 1), got {self.tolerance}."
            )
        if self.init is not None:
            _checks.check_aligner(name, "init", self.init)
        if not self.starts and not self.num_random_starts and self.init is None:
            raise ValueError("WeightMatching needs a start: name one in `starts`.")
        _checks.check_name(name, "order", self.order, ("forward", "random"))
        _checks.check_name(name, "scales", self.scales, _checks.SCALES)

    @np.errstate(all="ignore")  # as JAX
    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        on_host = self.runs_on_host() and programs.on_host(key, problem)
        problem = _checks.check_problem(problem, type(self).__name__, on_host=on_host)
        if self._matches_scales:
            _scales.check_spec(problem.spec)
        start_key, order_key = jax.random.split(key)
        random_key, init_key = jax.random.split(start_key)
        leaves = jax.tree.leaves(problem.params_a)
        if on_host and sum(leaf.nbytes for leaf in leaves) > MAX_COPIED:
            pair = _frame.Framed(problem, rescale=self._balances)
            starts = self._starts(random_key, pair)
            return self._search(order_key, pair, starts, pair.carry_back)
        problem, carry_back = _frame.common_scale(problem, rescale=self._balances)
        pair = _frame.Loaded(problem)
        starts = self._starts(random_key, pair)
        if self.init is not None:
            given = self.init(init_key, problem).element
            starts.append([symmetry.unit_scales(given, problem.spec)])
        return self._search(order_key, pair, starts, carry_back)

    def stream(
        self,
        key: Key,
        problem: _base.AlignmentProblem,
        *,
        memory: int,
        on_space: Callable[[str], Any] | None = None,
    ) -> _base.AlignmentResult:
        """Do the same search on networks that are larger than the memory.

        Parameters are any arrays, for example mapped from files (`np.memmap`, mode
        "r"). They are read array by array, in pieces, whenever a space is solved, and
        no network is copied. Above the memory that is in use before, the peak is two
        arrays of one name, the assignment problem of the space that is solved (in
        single and double precision, 12 bytes per pair of neurons), `memory`,
        which holds the copies of pieces, and what JAX compiles.

        The element is that of a call, up to rounding, and so is its objective. What
        two networks share and no other space moves is not kept, so that a sweep reads
        every array about twice. Runs eagerly, on the host.

        Args:
          key: random key, for random starts and orders.
          problem: the networks, in the type that they are stored in; no data.
          memory: bytes for copies; at least `MIN_MEMORY`.
          on_space: called with the name of each space that is solved, as a sweep of a
            large network takes minutes; not with `order="random"`.

        Returns:
          The result of a call.

        Raises:
          ValueError: too little memory, matched scales, `init`, networks of other
            shapes, or with NaN (names the parameter).
        """
        name = type(self).__name__
        _checks.check_integer(name, "memory", memory, MIN_MEMORY)
        if self.init is not None or self._matches_scales:
            option = "init" if self.init is not None else "scales='matched'"
            raise ValueError(
                f"{name}: {option} needs both networks in memory: call it without"
                " stream."
            )
        problem = _checks.check_stored(problem, name)
        pair = _frame.Framed(
            problem, memory // COPIES, rescale=self._balances, on_space=on_space
        )
        start_key, order_key = jax.random.split(key)
        random_key, _ = jax.random.split(start_key)
        starts = self._starts(random_key, pair)
        return self._search(order_key, pair, starts, pair.carry_back)

    def runs_on_host(self, num_networks: int = 2) -> bool:
        """Return whether numpy computes what this does, where all values are known.

        It does on CPUs: a search from a few starts is over before it would be
        compiled.

        Args:
          num_networks: brought together at once.
        """
        return num_networks == 2 and self.init is None and not self._matches_scales

    @property
    def _matches_scales(self) -> bool:
        return self.rescale and self.scales == "matched"

    @property
    def _balances(self) -> bool:
        return self.rescale and self.scales == "balanced"

    def _search(self, key, pair: _frame.Pair, starts, carry_back):
        """Descend from the nearest of each group, and return the best reached."""
        unit = pair.unit()
        starts = [_starts.nearest(pair, group, unit) for group in starts]
        names = _descent.Options._fields
        options = _descent.Options(**{name: getattr(self, name) for name in names})
        final = _descent.descend(options, key, starts, pair, unit)
        reached = final.objective[:, -1]
        numbers = programs.namespace(final)
        best = symmetry.rows(final, reached.argmin())
        best = jax.tree.map(numbers.asarray, best)
        result = _base.AlignmentResult(
            element=carry_back(best.element),
            objective=_units.restore(best.objective, unit),
            converged=best.finished,
            num_iters=best.num_sweeps,
            start_objectives=_units.restore(reached, unit),
        )
        return _checks.finish(
            result,
            numbers.asarray(numbers.isfinite(reached).all()),
            f"{type(self).__name__}: the distance of the networks is not finite.",
        )

    def _starts(self, key, pair: _frame.Pair) -> list[list[symmetry.GroupElement]]:
        """Return groups of starts: those with names, and each of the random ones."""
        options = dict(permute=self.permute, rescale=self.rescale)
        named = []
        if "outward" in self.starts:
            named.append(_starts.outward(pair, **options))
        if "identity" in self.starts:
            named.append(_starts.identity(pair.shapes, pair.spec, pair.numbers))
        drawn = [
            [_starts.random(start_key, pair, **options)]
            for start_key in jax.random.split(key, self.num_random_starts)
        ]
        return [named, *drawn] if named else drawn
