"""Walks a jaxpr with abstract values, by one rule for each primitive.

Passes over the axes alone are repeated until nothing changes; axes that rules make are
remembered from pass to pass. In one last pass all axes stand fast, and the exponents
are computed: nothing that has been said about an atom is outdated by a later cut.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from symmerge_jax.tracing import (
    _atoms,
    _exponents,
    _fibres,
    _linearity,
    _programs,
    _registry,
    _sights,
    _weights,
)
from symmerge_jax.tracing._atoms import Atom, Axis
from symmerge_jax.tracing._exponents import ZERO, Linear
from symmerge_jax.tracing._values import Index, Reason, Value
from symmerge_jax.tracing._weights import Weights

Equations = tuple[dict[int, list[Linear]], ...]


class Interpreter:
    """State of the inference of one program.

    Attributes:
      atoms: all axes.
      is_final: whether this is the pass that computes exponents.
      num_passes: counts the passes from 1.
      fibres: which atoms accompany which; of the final pass.
      linearity: what is linear along every atom; of the final pass.
      equations: what must be 0, per atom: of scales, and of signs.
      owners: atom of every unknown exponent.
      roles: -1 for exponents of axes that are first contracted with other values.
      unknown: primitives without a rule, and the atoms that each of them pinned.
      order: atoms in the order in which values other than parameters have them.
      places: where values of atoms can be seen.
      steps: the scanned axes of the loops that the equation at hand is in.
    """

    def __init__(self):
        self.atoms = _atoms.Atoms()
        self.is_final = False
        self.num_passes = 0
        self.fibres = _fibres.Fibres()
        self.linearity = _linearity.Linearity()
        self.equations: Equations = (defaultdict(list), defaultdict(list))
        self.owners: list[Atom] = []
        self.roles: dict[int, int] = {}
        self.unknown: dict[str, list[Atom]] = {}
        self.order: dict[int, int] = {}
        self.steps: list[Axis] = []
        self.places = _sights.Sights()
        self._memory: dict[tuple, Any] = {}
        self._where: tuple[int, ...] = ()
        self._equations: list[Any] = []
        self._live: dict[int, list[int]] = {}
        self._arrays: dict[int, tuple] = {}

    def begin_pass(self, is_final: bool) -> None:
        """Start a pass over the whole program."""
        self.atoms.begin_pass()
        self.num_passes += 1
        self.is_final = is_final

    # The program.

    def run(
        self,
        jaxpr: Any,
        operands: Sequence[Value],
        branch: int = 0,
    ) -> list[Value]:
        """Interpret a jaxpr and return the abstract values of its results.

        There is one operand for each of its variables; `branch` tells apart the
        programs that one equation calls.
        """
        outer, depth = self._where, len(self._equations)
        prefix = (*self._where, branch)
        constants: Sequence[Any] = ()
        if isinstance(jaxpr, core.ClosedJaxpr):
            jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
        environment: dict[Any, Value] = dict(zip(jaxpr.invars, operands, strict=True))
        arrays = dict(zip(jaxpr.constvars, constants, strict=True))

        def read(atom: Any, n: int) -> Value:
            if _programs.is_literal(atom):
                return self.array(atom.val, n)
            if atom in arrays:
                return self.array(arrays[atom], n)
            return environment[atom]

        if id(jaxpr) not in self._live:
            self._live[id(jaxpr)] = _programs.live_equations(jaxpr)
        for i in self._live[id(jaxpr)]:
            equation = jaxpr.eqns[i]
            self._where = (*prefix, i)
            self._equations[depth:] = [equation]
            results = self._apply(
                equation, [read(a, n) for n, a in enumerate(equation.invars)]
            )
            for var, value in zip(equation.outvars, results, strict=True):
                environment[var] = value
                self.note(value)
        self._where = (*prefix, -1)
        results = [read(atom, n) for n, atom in enumerate(jaxpr.outvars)]
        self._where = outer
        del self._equations[depth:]
        return results

    def note(self, value: Value) -> None:
        """Take down which atoms stand together in a value."""
        if self.is_final:
            self.fibres.note(value)
            if not value.is_raw:
                for axis in value.axes:
                    for leaf in _atoms.leaves(axis):
                        self.order.setdefault(leaf.number, len(self.order))

    def _apply(self, equation: Any, operands: list[Value]) -> Sequence[Value]:
        name = equation.primitive.name
        rule = _registry.RULES.get(name, _registry.unknown)
        if name not in _registry.READS_INDICES:
            operands = [self.as_numbers(value) for value in operands]
        results: Any = rule(self, equation, *operands)
        if isinstance(results, Value):
            results = [results]
        if self.is_final:
            results = self.linearity.observe(equation, operands, results)
            if not [*core.jaxprs_in_params(equation.params)]:
                self.fibres.use(operands, results)
        checked = []
        for var, value in zip(equation.outvars, results, strict=True):
            if value.shape != tuple(var.aval.shape):
                raise AssertionError(f"{name}: {value.shape} is no {var.aval}")
            if not value.ties and not _programs.is_real(var.aval):
                value = value._replace(ties=True)
            checked.append(value)
        return checked

    # Values.

    def array(self, array: Any, key: int) -> Value:
        """Return the value of an array of the program; `key` tells one from others."""
        shape = tuple(np.shape(array))
        known = self._arrays.get(id(array))
        if known is None:
            # The array stays alive with its id.
            known = self._arrays[id(array)] = _programs.constancy(array), array
        constant, same = known[0]
        axes = [
            None if same[i] else self.fresh(("array", key, i), size, "constant array")
            for i, size in enumerate(shape)
        ]
        return self.value(shape, axes)._replace(constant=constant)

    def value(self, shape: Sequence[int], axes: Sequence[Axis]) -> Value:
        """Return a value that no scale changes."""
        weights = tuple(self.zeros(axis) for axis in axes)
        return Value(tuple(shape), tuple(axes), weights)

    def fixed(self, shape: Sequence[int], text: str, key: Any = 0) -> Value:
        """Return a value whose axes are all pinned."""
        axes = [self.fresh((key, i), size, text) for i, size in enumerate(shape)]
        return self.value(shape, axes)

    def all_fixed(self, equation: Any, text: str) -> list[Value]:
        """Return pinned values for all results of an equation."""
        return [
            self.fixed(var.aval.shape, text, i)
            for i, var in enumerate(equation.outvars)
        ]

    def as_numbers(self, value: Value) -> Value:
        """Return a value whose indices, if they are some, are taken for numbers."""
        if value.places is None:
            return value
        self.pin(value.places.axis, "its indices are used as numbers")
        return value._replace(places=None)

    def same_index(self, values: Sequence[Value]) -> Index | None:
        """Return what all of these point into; pin it where they do not agree."""
        found = [value.places for value in values]
        sizes = {index.axis.size for index in found if index is not None}
        if len(sizes) > 1 or any(i is None or i.is_shifted for i in found):
            for value in values:
                self.as_numbers(value)
            return None
        axis: Axis = None
        for index in found:
            assert index is not None
            axis = self.unify(axis, index.axis, "indices of two axes meet")
        if axis is None or any(i and _atoms.find(i.axis) is not axis for i in found):
            return None  # no two axes that can be one: both are pinned
        return Index(axis)

    # Axes.

    def reason(self, text: str) -> Reason:
        """Return a reason with the operation and the line at hand."""
        if not (eqns := self._equations):
            return Reason(text)
        return Reason(text, eqns[-1].primitive.name, _registry.source_of(eqns))

    def fresh(self, key: Any, size: int, text: str | None = None) -> Axis:
        """Return the axis that the equation at hand has made by this name.

        Args:
          key: name within the equation.
          size: number of indices; an axis of one index is None.
          text: reason why it is pinned; None if it is free.
        """
        return None if size == 1 else self.piece(key, size, text)

    def piece(self, key: Any, size: int, text: str | None = None) -> Atom:
        """Return such an axis as an atom even if it has one index."""
        where = (self._where, key)
        atom = self._memory.get(where)
        if atom is None:
            atom = self._memory[where] = self.atoms.new(size)
            self.atoms.num_changes += 1
            if size <= 1:
                self.atoms.pin(atom, Reason("a single index"))
        if text is not None:
            self.pin(atom, text)
        return atom

    def keep(self, key: Any, axis: Axis) -> Axis:
        """Return an axis of earlier passes, unified with its present."""
        where = (self._where, key)
        known = self._memory.get(where)
        joined = axis if known is None else self.unify(known, axis, "cut in two ways")
        if joined is not None and known is None:
            self.atoms.num_changes += 1
            self._memory[where] = joined
        return joined

    def unify(self, a: Axis, b: Axis, text: str) -> Axis:
        """Make two axes one; see `Atoms.unify`."""
        if a is b or a is None or b is None:
            return b if a is None else a
        if _atoms.find(a) is _atoms.find(b):
            return _atoms.find(a)
        return self.atoms.unify(a, b, self.reason(text))

    def pin(self, axis: Axis, text: str) -> None:
        """Fix the order of an axis."""
        if axis is not None and not _atoms.is_pinned(axis):
            self.atoms.pin(axis, self.reason(text))

    def kill(self, value: Value, text: str, axes: Iterable[int] | None = None) -> None:
        """Fix order and scales of a value along some axes, or all."""
        for i in range(len(value.axes)) if axes is None else axes:
            self.pin(value.axes[i], text)
        self.mute(value, axes)

    # Exponents; all of these do nothing before the final pass.

    def zeros(self, axis: Axis) -> Weights:
        """Return exponents 0 along an axis."""
        return (ZERO,) * len(_atoms.leaves(axis)) if self.is_final else ()

    def unknowns(self, axis: Axis) -> Weights:
        """Return exponents that may be anything along an axis."""
        if not self.is_final:
            return ()
        made = []
        for leaf in _atoms.leaves(axis):
            made.append(_exponents.variable(len(self.owners)))
            self.owners.append(leaf)
        return tuple(made)

    def along(self, value: Value, i: int, axis: Axis) -> Weights:
        """Return the exponents of a value along an axis that its own became.

        A scalar, or a value that is constant along it, has exponents 0. Axes that could
        not be made one have no scales.
        """
        own = value.axes[i] if value.axes else None
        if not self.is_final or own is None or axis is None:
            return self.zeros(axis)
        if _atoms.leaves(own) == _atoms.leaves(axis):
            return value.weights[i]
        self.require(own, value.weights[i])
        return self.zeros(axis)

    def require(
        self, axis: Axis, weights: Weights, scale: bool = True, sign: bool = True
    ) -> None:
        """Demand that exponents along an axis are 0: of scales, signs or both."""
        for leaf, weight in zip(_atoms.leaves(axis), weights, strict=False):
            if scale and weight.scale:
                self.equations[0][leaf.number].append(weight.scale)
            if sign and weight.sign:
                self.equations[1][leaf.number].append(weight.sign)

    def demand_equal(self, axis: Axis, a: Weights, b: Weights) -> None:
        """Demand that exponents of two values along an axis are equal."""
        if a is not b:
            self.require(axis, _weights.total(a, b, -1))

    def mute(
        self,
        value: Value,
        axes: Iterable[int] | None = None,
        scale: bool = True,
        sign: bool = True,
    ) -> None:
        """Demand exponents 0 of a value along some axes, or all."""
        if self.is_final:
            for i in range(len(value.axes)) if axes is None else axes:
                self.require(value.axes[i], value.weights[i], scale, sign)

    def contract(self, axes: Sequence[Axis], batch: Sequence[Axis] = ()) -> None:
        """Take down a sum over axes that leaves batch axes in place."""
        if self.is_final:
            self.fibres.contract(
                [leaf for axis in axes for leaf in _atoms.leaves(axis)],
                [leaf for axis in batch for leaf in _atoms.leaves(axis)],
            )

    def see(self, value: Value, axes: Iterable[int], operand: int) -> None:
        """Take down where atoms are seen, outside of branches and loops over data."""
        names = {equation.primitive.name for equation in self._equations}
        if self.is_final and not names & {"while", "cond"}:
            sight = _sights.Sight(self._where, operand, (*self.steps, *value.axes))
            self.places.note([value.axes[i] for i in axes], sight)

    def set_role(self, value: Value, axes: Iterable[int], role: int) -> None:
        """Take down what a parameter is first used for along some axes."""
        if self.is_final and value.is_raw:
            for i in axes:
                for leaf, weight in zip(
                    _atoms.leaves(value.axes[i]), value.weights[i], strict=True
                ):
                    for variable in weight.sign:
                        self.roles.setdefault(variable, role)
                    if role == -1:
                        self.order.setdefault(leaf.number, len(self.order))
