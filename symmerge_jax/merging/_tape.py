"""The program of a network as a list of steps, each of which is one operation.

Calls are written out, and so are scans over layers, step by step: every layer that a
user thinks of is one operation on the tape. Values are numbered; which of them depend
on the data is known before anything is run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from symmerge_jax import programs, symmetry
from symmerge_jax.typing import Array, Params, Path

_MAX_LENGTH = 256
"""Longer scans, as those over time, are one operation."""


class Step(NamedTuple):
    """One operation.

    Attributes:
      name: of the primitive, or "row" and "stack" of scans that are written out.
      run: takes the operands, returns the list of results.
      options: parameters of the primitive.
      operands: numbers of values.
      results: numbers of values.
    """

    name: str
    run: Callable[..., Sequence[Any]]
    options: Mapping[str, Any]
    operands: tuple[int, ...]
    results: tuple[int, ...]


class Tape(NamedTuple):
    """A program, written out.

    Attributes:
      steps: in the order of the program.
      shapes: of every value.
      constants: values that stand in the program.
      leaves: number of every array of the parameters, by path.
      inputs: numbers of the arrays of the inputs.
      outputs: numbers of the results.
      on_data: numbers of the values that depend on the inputs.
      makers: step that makes a value.
      users: steps that take a value.
    """

    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Any]
    leaves: Mapping[Path, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    on_data: frozenset[int]
    makers: Mapping[int, int]
    users: Mapping[int, tuple[int, ...]]


def record(apply: Callable[..., Any], params: Params, inputs: Any) -> Tape:
    """Return the tape of `apply(params, inputs)`; shapes suffice for both.

    Raises:
      TypeError, ValueError: a function that is not pure, or does not take these.
    """
    arrays = {p: x for p, x in symmetry.flatten(params).items() if symmetry.is_array(x)}

    def call(flat, xs):
        leaves = dict(zip(arrays, flat, strict=True))
        return apply(symmetry.rebuild(params, leaves), xs)

    try:
        closed = jax.make_jaxpr(call)(list(arrays.values()), inputs)
    except programs.NOT_PURE as error:
        raise programs.not_pure("apply", error, "write it with jax.numpy") from error
    except programs.REFUSALS as error:
        shapes = [jnp.shape(x) for x in jax.tree.leaves(inputs)]
        raise ValueError(
            f"The network does not take these parameters and inputs of shape {shapes}:"
            f" {programs.first_line(error)}"
        ) from error
    return _Recorder().record(closed, list(arrays), len(jax.tree.leaves(inputs)))


class _Recorder:
    """Numbers values and writes steps."""

    def __init__(self):
        self.steps: list[Step] = []
        self.shapes: list[tuple[int, ...]] = []
        self.constants: dict[int, Any] = {}

    def record(self, closed: Any, paths: Sequence[Path], num_inputs: int) -> Tape:
        arguments = [self._new(var.aval.shape) for var in closed.jaxpr.invars]
        leaves, inputs = arguments[: len(paths)], arguments[len(paths) :]
        assert len(inputs) == num_inputs
        outputs = self._program(closed, arguments)
        steps = _live(self.steps, outputs)
        on_data, makers, users = set(inputs), {}, {}
        for number, step in enumerate(steps):
            if not on_data.isdisjoint(step.operands):
                on_data.update(step.results)
            makers |= dict.fromkeys(step.results, number)
            for value in dict.fromkeys(step.operands):
                users.setdefault(value, []).append(number)
        return Tape(
            steps=tuple(steps),
            shapes=tuple(self.shapes),
            constants=self.constants,
            leaves=dict(zip(paths, leaves, strict=True)),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            on_data=frozenset(on_data),
            makers=makers,
            users={value: tuple(numbers) for value, numbers in users.items()},
        )

    def _new(self, shape: Sequence[int]) -> int:
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    def _constant(self, value: Any) -> int:
        number = self._new(jnp.shape(value))
        self.constants[number] = value
        return number

    def _program(self, jaxpr: Any, arguments: Sequence[int]) -> list[int]:
        constants: Sequence[Any] = ()
        if isinstance(jaxpr, core.ClosedJaxpr):
            jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
        known = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {
            var: self._constant(value)
            for var, value in zip(jaxpr.constvars, constants, strict=True)
        }

        def read(atom: Any) -> int:
            if isinstance(atom, core.Literal):
                return self._constant(atom.val)
            return known[atom]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [read(x) for x in equation.invars])
            known |= dict(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, equation: Any, operands: list[int]) -> list[int]:
        program = programs.called_program(equation)
        if program is not None:
            return self._program(program, operands)
        primitive = equation.primitive
        if primitive.name == "scan" and equation.params["length"] <= _MAX_LENGTH:
            return self._scan(equation, operands)
        bound = primitive.get_bind_params(equation.params)
        functions, options = bound if isinstance(bound, tuple) else ((), bound)

        def run(*values):
            results = primitive.bind(*functions, *values, **options)
            return results if primitive.multiple_results else [results]

        results = [self._new(var.aval.shape) for var in equation.outvars]
        self._write(primitive.name, run, equation.params, operands, results)
        return results

    def _scan(self, equation: Any, operands: list[int]) -> list[int]:
        num_consts, num_carry = programs.scan_counts(equation)
        first = num_consts + num_carry
        consts, carry = operands[:num_consts], operands[num_consts:first]
        length = equation.params["length"]
        order = range(length)[:: -1 if equation.params["reverse"] else 1]
        rows: dict[int, list[int]] = {}
        for t in order:
            scanned = [self._row(x, t) for x in operands[first:]]
            body = equation.params["jaxpr"]
            results = self._program(body, [*consts, *carry, *scanned])
            carry, rows[t] = results[:num_carry], results[num_carry:]
        stacked = []
        for number, var in enumerate(equation.outvars[num_carry:]):
            result = self._new(var.aval.shape)
            values = [rows[t][number] for t in range(length)]
            self._write(
                "stack", lambda *values: [jnp.stack(values)], {}, values, [result]
            )
            stacked.append(result)
        return [*carry, *stacked]

    def _row(self, value: int, t: int) -> int:
        result = self._new(self.shapes[value][1:])
        self._write("row", lambda x: [x[t]], {"index": t}, [value], [result])
        return result

    def _write(self, name, run, options, operands, results) -> None:
        step = Step(name, run, options, tuple(operands), tuple(results))
        self.steps.append(step)


def _live(steps: Sequence[Step], outputs: Sequence[int]) -> list[Step]:
    """Return the steps that the outputs depend on."""
    needed, live = set(outputs), []
    for step in reversed(steps):
        if not needed.isdisjoint(step.results):
            live.append(step)
            needed.update(step.operands)
    return live[::-1]


class Run:
    """One network on its way through a tape.

    Values that depend on parameters alone are computed where they are needed, so that
    parameters may change on the way.

    Args:
      tape: the program.
      params: of the network.
      arrays: the inputs.
      read: `read(path, leaf)` returns what stands for a parameter, each time that an
        operation takes it; nothing that is made of parameters alone is then kept.
    """

    def __init__(
        self,
        tape: Tape,
        params: Params,
        arrays: Sequence[Any],
        *,
        read: Callable[[Path, Any], Any] | None = None,
    ):
        self._tape, self._read = tape, read
        self._leaves = dict(symmetry.flatten(params))
        self._numbers = {number: path for path, number in tape.leaves.items()}
        self._values = dict(zip(tape.inputs, arrays, strict=True))
        self._made: dict[int, Any] = {}
        self._last = {value: users[-1] for value, users in tape.users.items()}
        self._last |= dict.fromkeys(tape.outputs, len(tape.steps))
        self.position = 0

    def read(self, value: int) -> Any:
        """Return a value that stands ready, or depends on no data."""
        if value in self._values:
            return self._values[value]
        if value in self._tape.constants:
            return self._tape.constants[value]
        if value in self._numbers:
            path = self._numbers[value]
            leaf = self._leaves[path]
            return leaf if self._read is None else self._read(path, leaf)
        assert value not in self._tape.on_data, "a value that is not made yet"
        if value not in self._made:
            step = self._tape.steps[self._tape.makers[value]]
            results = step.run(*map(self.read, step.operands))
            self._made |= zip(step.results, results, strict=True)
        return self._made[value]

    def advance(self, stop: int, wanted: Mapping[int, Any] | None = None) -> None:
        """Run the steps before `stop`; put values that are wanted into the lists.

        Args:
          stop: number of the first step that is not run.
          wanted: lists by the number of a value.
        """
        for number in range(self.position, stop):
            step = self._tape.steps[number]
            if self._tape.on_data.isdisjoint(step.results):
                continue
            results = step.run(*map(self.read, step.operands))
            self._values |= zip(step.results, results, strict=True)
            if self._read is not None:
                self._made.clear()
                jax.block_until_ready(results)  # else many are under way at once
            for value in step.results:
                if wanted is not None and value in wanted:
                    wanted[value].append(self._values[value])
            for value in (*step.operands, *step.results):
                if self._last.get(value, -1) <= number:
                    self._values.pop(value, None)
        self.position = max(self.position, stop)

    def leaf(self, path: Path) -> Array:
        """Return a parameter."""
        return self._leaves[path]

    def replace(self, path: Path, leaf: Array) -> None:
        """Change a parameter for what has not been run."""
        self._leaves[path] = leaf
        self._made.clear()

    def leaves(self) -> dict[Path, Any]:
        """Return all parameters."""
        return dict(self._leaves)
