"""A common scale for two networks, which leaves permutations and signs to be found.

Positive scales make inner products of weights meaningless: a neuron scaled up by 16
looks sixteen times as similar to everything. Both networks are therefore moved to the
balanced member of their orbit, which is unique (`symmetry.balance_scales`), and matched
there; the element found is carried back. Signs that neurons have beside their own, as
by a norm in a stream, are fixed in the same way.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _base, _similarity, _units
from symmerge_jax.typing import Array, Params, Path


def common_scale(
    problem: _base.AlignmentProblem, *, rescale: bool = True
) -> tuple[
    _base.AlignmentProblem,
    Callable[[symmetry.GroupElement], symmetry.GroupElement],
]:
    """Return the problem with balanced scales, and how to carry an element back.

    The second turns an element that solves the balanced problem into the one that
    solves the problem as it was given. Without `rescale` the problem stays as it is.
    """
    if not rescale:
        return problem, lambda element: element
    spec = problem.spec
    pair = problem.params_a, problem.params_b
    if programs.namespace(pair) is np:
        balanced = [symmetry.balance_scales(params, spec) for params in pair]
    else:  # in one loop, which is compiled once
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), *pair)
        both = jax.vmap(lambda params: symmetry.balance_scales(params, spec))(both)
        balanced = [symmetry.rows(both, number) for number in (0, 1)]
    (scales_a, params_a), (scales_b, params_b) = (
        _fix(element, params, spec)
        for element, params in zip(balanced, pair, strict=True)
    )
    problem = dataclasses.replace(problem, params_a=params_a, params_b=params_b)
    return problem, functools.partial(carry_back, scales_a, scales_b, spec)


def fix_scales(
    params: Params, spec: symmetry.SymmetrySpec
) -> tuple[symmetry.GroupElement, Params]:
    """Return the element that balances scales and fixes further signs, and its twin."""
    return _fix(symmetry.balance_scales(params, spec), params, spec)


def _fix(
    element: symmetry.GroupElement, params: Params, spec: symmetry.SymmetrySpec
) -> tuple[symmetry.GroupElement, Params]:
    """Return the element with the signs that it leaves fixed, and the twin."""
    params = symmetry.act(element, params, spec)
    if not (signs := symmetry.follower_signs(params, spec)):
        return element, params
    return symmetry.compose(signs, element, spec), symmetry.act(signs, params, spec)


def carry_back(
    scales_a: symmetry.GroupElement,
    scales_b: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    element: symmetry.GroupElement,
) -> symmetry.GroupElement:
    """Return `scales_a^-1 . element . scales_b`: what it is in the scales of before."""
    moved = symmetry.compose(element, scales_b, spec)
    return symmetry.compose(symmetry.inverse(scales_a, spec), moved, spec)


@runtime_checkable
class Pair(Protocol):
    """Two networks in a common scale, as a search looks at them.

    Attributes:
      spec: symmetry of both.
      shapes: of the parameters, and their type.
      numbers: numpy or `jax.numpy`, which computes all that a search does.
      is_stored: whether they are read again at each look.
    """

    spec: symmetry.SymmetrySpec
    shapes: Params
    numbers: Any
    is_stored: bool

    def part(self, spec: symmetry.SymmetrySpec) -> tuple[Params, Params]:
        """Return some parameters of both, to be handed to `pieces`."""
        ...

    def pieces(
        self,
        spec: symmetry.SymmetrySpec,
        part: tuple[Params, Params],
        element: symmetry.GroupElement,
        *,
        whole: Collection[str] = (),
        without: frozenset[Path] = frozenset(),
    ) -> Iterator[_similarity.Piece]:
        """Yield parameters of `a`, and those of `b` that an element moved.

        Spaces that are `whole` have all their neurons in each piece.
        """
        ...

    def units(self, space: str, without: frozenset[Path] = frozenset()) -> _units.Pair:
        """Return `_similarity.units_of` the networks."""
        ...

    def unit(self) -> Array:
        """Return the unit in which distances can be squared, `[]`."""
        ...

    def report(self, space: str) -> None:
        """Tell who waits that a search is through with a space."""
        ...


class Loaded:
    """A pair in memory, which is in a common scale, looked at in one piece."""

    is_stored = False

    def __init__(self, problem: _base.AlignmentProblem):
        self.spec, self.shapes = problem.spec, problem.params_a
        self._pair = problem.params_a, problem.params_b
        self.numbers = programs.namespace(self._pair)

    def part(self, spec):
        a, b = (symmetry.take_part(params, spec) for params in self._pair)
        return a, b

    def pieces(self, spec, part, element, *, whole=(), without=frozenset()):
        del whole
        a, b = part
        if self.numbers is np and without:  # a compiler computes what is needed
            spec = symmetry.part_of(spec, frozenset(spec.paths) - without)
            a, b = (symmetry.take_part(params, spec) for params in part)
            element = symmetry.within(element, spec)
        yield spec, a, symmetry.act(element, b, spec)

    def units(self, space, without=frozenset()):
        return _similarity.units_of(*self._pair, self.spec, space, without)

    def unit(self):
        return _units.of_networks(self.spec, *self._pair)

    def report(self, space):
        """Tell nobody: what takes long runs as one program."""


class Framed:
    """A pair of arrays of numpy, moved piece by piece at each look.

    Scales are balanced, and signs fixed, by elements: no network is copied.
    """

    numbers = np

    def __init__(
        self,
        problem: _base.AlignmentProblem,
        max_bytes: int | None = None,
        *,
        rescale: bool,
        on_space: Callable[[str], Any] | None = None,
    ):
        self.is_stored, self._on_space = max_bytes is not None, on_space
        self.spec = problem.spec.restrict(problem.params_a)
        leaves = map(symmetry.flatten, (problem.params_a, problem.params_b))
        leaves = [{p: x[p] for p in self.spec.paths} for x in leaves]
        self._pair = [symmetry.unflatten(x) for x in leaves]
        self._dtype = symmetry.computing_dtype(leaves)
        self._max_bytes = sys.maxsize if max_bytes is None else max_bytes
        self.shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, self._dtype), self._pair[0]
        )
        self.frames = [self._frame(x) if rescale else {} for x in leaves]
        self._largest = self._measure(leaves)

    def carry_back(self, element: symmetry.GroupElement) -> symmetry.GroupElement:
        """Return an element of balanced networks as one of those given."""
        frame_a, frame_b = self.frames
        return carry_back(frame_a, frame_b, self.spec, element)

    def _frame(self, leaves) -> symmetry.GroupElement:
        """Return the element that brings a network into the common scale."""
        scales = symmetry.balance_stored(leaves, self.spec, self._max_bytes)
        params = symmetry.unflatten(leaves)
        signs = symmetry.follower_signs(params, self.spec, scales)
        return symmetry.compose(signs, scales, self.spec)

    def _measure(self, pair) -> dict[Path, tuple[float, float]]:
        """Return the largest weight of each parameter of both; refuse NaN."""
        largest: dict[Path, Any] = {}
        for slab in self._slabs(pair, self.frames, self.spec):
            sizes = [float(np.max(np.abs(x), initial=0)) for x in slab.arrays]
            for name, size in zip("ab", sizes, strict=True):
                if not np.isfinite(size):
                    raise ValueError(
                        f"WeightMatching: params_{name}: Parameter"
                        f" '{symmetry.name(slab.path)}' is not finite. Repair or drop"
                        " this network."
                    )
            before = largest.get(slab.path, sizes)
            largest[slab.path] = tuple(map(max, before, sizes))
        return largest

    def _slabs(self, pair, elements, spec, whole=()):
        """Yield the slabs of both networks, in the type that they are compared in."""
        for slab in symmetry.slabs(
            pair, elements, spec, whole=whole, max_bytes=self._max_bytes
        ):
            arrays = tuple(x.astype(self._dtype, copy=False) for x in slab.arrays)
            yield slab._replace(arrays=arrays)

    def part(self, spec):
        a, b = (symmetry.take_part(one, spec) for one in self._pair)
        return a, b

    def pieces(self, spec, part, element, *, whole=(), without=frozenset()):
        frame_a, frame_b = (_of_all_axes(frame, spec) for frame in self.frames)
        moved = symmetry.compose(symmetry.within(element, spec), frame_b, spec)
        read = {p for p in spec.paths if p not in without and spec.match_weight(p)}
        near = symmetry.part_of(spec, frozenset(read))
        leaves = [symmetry.flatten(params) for params in part]
        for slab in self._slabs(leaves, (frame_a, moved), near, whole):
            a, b = (symmetry.unflatten({slab.path: x}) for x in slab.arrays)
            yield slab.spec, a, b

    def units(self, space, without=frozenset()):
        paths = {p for p, _, _ in self.spec.uses(space, -1, 0, 1)} - without
        return _units.Pair(*(self._unit(paths, [side]) for side in (0, 1)))

    def unit(self):
        return self._unit(self.spec.paths, [0, 1])

    def report(self, space):
        if self._on_space is not None:
            self._on_space(space)

    def _unit(self, paths, sides) -> Array:
        counted = [path for path in paths if self.spec.match_weight(path)]
        sizes = [self._largest[path][side] for path in counted for side in sides]
        return _units.unit(*(np.asarray(size, self._dtype) for size in sizes))


def _of_all_axes(frame, spec: symmetry.SymmetrySpec) -> symmetry.GroupElement:
    """Return an element on the spaces of a spec, also where one is beside itself."""
    names = {s.name: s.name.removesuffix(_similarity.BESIDE) for s in spec.spaces}
    return {name: frame[own] for name, own in names.items() if own in frame}


def distance(
    pair: Pair, element: symmetry.GroupElement, spec: symmetry.SymmetrySpec, unit: Array
) -> Array:
    """Return `||a - element.b||^2`, `[]`, of the parameters of a spec in this unit."""
    numbers = programs.namespace(unit)
    total = numbers.zeros_like(unit)
    pieces = pair.pieces(spec, pair.part(spec), symmetry.within(element, spec))
    for part, a, b in pieces:
        total = total + _base.squared_difference(a, b, part, unit)
    return numbers.asarray(total)
