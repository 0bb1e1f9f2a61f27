"""The symmetries of the parameters of a function, inferred from its program."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.tracing import _atoms, _exponents, _programs, rules
from symmerge_jax.tracing._atoms import Atom, Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._program_of import program_of
from symmerge_jax.tracing._traced import Part, Place, Traced, TracedSpace, Tree, Use
from symmerge_jax.tracing._values import Value
from symmerge_jax.typing import Params, Path

MAX_PASSES = 100

RULE_MODULES = rules.MODULES  # which register their rules when they are imported


def infer(
    apply: Callable[..., Any],
    params: Params,
    *inputs: Any,
    statistics: Sequence[str] | None = None,
) -> Traced:
    """Return the symmetries of `apply(params, *inputs)` in its parameters.

    The function is traced once, on shapes. What is found is true of all parameters and
    inputs of these shapes, in exact arithmetic: moving the parameters by a symmetry
    leaves the outputs as they are. (Inputs of measure zero, where the entries that an
    argmax looks at are equal, are left out.)

    Args:
      apply: `apply(params, *inputs)`, any function that JAX can trace.
      params: any pytree of arrays or `jax.ShapeDtypeStruct`.
      *inputs: pytrees of arrays or `jax.ShapeDtypeStruct`.
      statistics: names of parameters that are statistics of data, or of trees of them,
        as `SymmetrySpec.create` takes them; they are permuted but not scaled. By
        default what lies in `batch_stats` or is called `running_mean` or `running_var`.

    Raises:
      TypeError: inputs that are no arrays, or a function that is not pure JAX.
      ValueError: two parameters have one name, `statistics` names none, or the function
        does not take these parameters and inputs.
    """
    leaves = symmetry.flatten(params)
    is_array = {path: symmetry.is_array(leaf) for path, leaf in leaves.items()}
    arrays = {path: _shaped(leaf) for path, leaf in leaves.items() if is_array[path]}

    closed = program_of(apply, params, arrays, inputs)
    frozen = symmetry.find_statistics(list(arrays), statistics)
    return _Inference(closed, arrays, frozen).solve()


class _Inference:
    """The inference of one program: its parameters, and what is known of their axes."""

    def __init__(
        self, closed: Any, arrays: dict[Path, Any], statistics: tuple[Path, ...]
    ):
        self.closed = closed
        self.arrays = arrays
        self.statistics = statistics
        self.ctx = Interpreter()
        self.axes: dict[Path, list[Axis]] = {
            path: [None if n == 1 else self.ctx.atoms.new(n) for n in leaf.shape]
            for path, leaf in arrays.items()
        }
        self.uses: dict[int, Use] = {}
        self.batch: Axis = None
        used = _programs.used_variables(closed.jaxpr)
        self.unused = tuple(
            path
            for path, var in zip(arrays, closed.jaxpr.invars, strict=False)
            if var not in used
        )
        for path, leaf in arrays.items():
            for axis in self.axes[path]:
                if path in self.unused:
                    self.ctx.pin(axis, "the outputs do not depend on it")
                elif not jnp.issubdtype(leaf.dtype, jnp.inexact):
                    self.ctx.pin(axis, "no array of floats")

    def solve(self) -> Traced:
        """Interpret the program to the fixed point and read off the result."""
        for number in range(1, MAX_PASSES):
            self.pass_over(is_final=False)
            if number > 1 and not self.ctx.atoms.num_changes:
                break
        else:
            raise AssertionError("the axes of this program come to no fixed point")
        self.pass_over(is_final=True)
        if self.ctx.atoms.num_changes:
            raise AssertionError("axes changed after the fixed point")
        return self.read_off()

    def pass_over(self, is_final: bool) -> None:
        """Interpret the program once."""
        ctx = self.ctx
        ctx.begin_pass(is_final)
        operands = [self.parameter(path) for path in self.arrays]
        inputs = self.closed.jaxpr.invars[len(operands) :]
        for i, var in enumerate(inputs):
            operands.append(ctx.fixed(var.aval.shape, "an input", ("input", i)))
            if not i and var.aval.shape:
                self.batch = operands[-1].axes[0]
        for value in operands:
            ctx.note(value)
        for value in ctx.run(self.closed, operands):
            ctx.kill(ctx.as_numbers(value), "an output")
        for path, value in zip(self.arrays, operands, strict=False):
            leaf = self.arrays[path]
            is_still = path in self.statistics or path in self.unused
            if is_still or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                ctx.mute(value)

    def parameter(self, path: Path) -> Value:
        """Return the value of a parameter, with an unknown for every atom."""
        weights = []
        for i, axis in enumerate(self.axes[path]):
            first = len(self.ctx.owners)
            weights.append(self.ctx.unknowns(axis))
            for position in range(len(self.ctx.owners) - first):
                self.uses[first + position] = Use(path, i, position)
        shape = tuple(self.arrays[path].shape)
        return Value(shape, tuple(self.axes[path]), tuple(weights), is_raw=True)

    def pin_what_is_not_used(self) -> None:
        """Fix what is cut off from a parameter, such as rows of a table of positions.

        Everything could be done with it, and nothing is gained.
        """
        ctx = self.ctx
        for variable in self.uses:
            leaf = ctx.owners[variable]
            if leaf.number not in ctx.order and leaf.number not in ctx.fibres.used:
                ctx.pin(leaf, "the outputs do not depend on it")
                ctx.require(leaf, (_exponents.variable(variable),))

    def read_off(self) -> Traced:
        """Return the spaces of the parameters, in the order of the program."""
        ctx = self.ctx
        self.pin_what_is_not_used()
        atoms: dict[int, Atom] = {}
        variables: dict[int, list[int]] = defaultdict(list)
        for variable in self.uses:
            atom = ctx.owners[variable]
            atoms[atom.number] = atom
            variables[atom.number].append(variable)
        first = _programs.first_equations(self.closed.jaxpr)
        place = dict(zip(self.arrays, first, strict=False))
        for found in variables.values():  # whatever the order of the parameters is
            found.sort(key=lambda v: (place[self.uses[v].path], self.uses[v]))
        last = len(ctx.order)
        order = sorted(atoms, key=lambda n: (ctx.order.get(n, last), n))
        numbers = {atom: i for i, atom in enumerate(order)}
        equations = [_by_atom(found, ctx.owners) for found in ctx.equations]
        present = {
            n: {self.uses[v].path for v in found} for n, found in variables.items()
        }
        above = {
            n: {
                other
                for other in ctx.fibres.over(atoms[n])
                if other in numbers and present[n] <= present[other]
            }
            for n in sorted(order, key=lambda n: not atoms[n].pinned)
        }
        spaces = {}
        for n in order:
            columns = variables[n]
            scales, signs = (
                _exponents.nullspace(found.get(n, ()), columns, is_sign=bool(i))
                for i, found in enumerate(equations)
            )
            roles = [ctx.roles.get(v, 1) for v in columns]
            scales = [_exponents.oriented(row, columns, roles) for row in scales]
            over = (numbers[other] for other in above[n] if _is_outer(above, other, n))
            spaces[numbers[n]] = TracedSpace(
                size=atoms[n].size,
                pinned=atoms[n].pinned,
                uses=tuple(self.uses[v] for v in columns),
                scales=tuple(
                    {self.uses[v]: Fraction(c) for v, c in row.items()}
                    for row in scales
                ),
                signs=tuple({self.uses[v]: 1 for v in row} for row in signs),
                over=tuple(sorted(over)),
                roles={
                    self.uses[v]: 0
                    if self.uses[v].path in self.statistics
                    else ctx.roles.get(v, 1)
                    for v in columns
                },
                linear=self.linear_kind(n, columns, scales),
            )
        return Traced(
            spaces=spaces,
            layout={
                path: tuple(None if a is None else _tree(a, numbers) for a in axes)
                for path, axes in self.axes.items()
            },
            unknown={
                name: tuple(
                    use
                    for leaf in {x for atom in cost for x in _atoms.leaves(atom)}
                    for v in variables.get(leaf.number, ())
                    for use in [self.uses[v]]
                )
                for name, cost in ctx.unknown.items()
            },
            unused=self.unused,
            statistics=self.statistics,
            num_equations=_programs.count_equations(self.closed.jaxpr),
            places={
                numbers[n]: Place(
                    found.where,
                    found.operand,
                    tuple(_part(axis, numbers, self.batch) for axis in found.axes),
                )
                for n in order
                for found in [ctx.places.of(n)]
                if found is not None and not atoms[n].pinned
            },
        )

    def linear_kind(
        self, number: int, variables: list[int], scales: list[_exponents.Linear]
    ) -> str | None:
        """Return which matrices act on an atom whose scales are known.

        Invertible ones act on what is written, and their inverses on what is read: one
        scale must say of all uses which of both they are.
        """
        axis = self.ctx.owners[variables[0]]
        kind = None if axis.pinned else self.ctx.linearity.kind(number)
        is_paired = len(scales) == 1 and all(
            abs(scales[0].get(v, 0)) == 1 for v in variables
        )
        return "orthogonal" if kind == "general" and not is_paired else kind


def _shaped(leaf: Any) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype) if _is_plain(leaf) else leaf.dtype
    return jax.ShapeDtypeStruct(np.shape(leaf), dtype)


def _is_plain(leaf: Any) -> bool:
    return not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)


def _by_atom(
    equations: dict[int, list[_exponents.Linear]], owners: Sequence[Atom]
) -> dict[int, list[_exponents.Linear]]:
    """Sort equations by atom; of those that speak of two, all variables are 0."""
    sorted_: dict[int, list[_exponents.Linear]] = defaultdict(list)
    for found in equations.values():
        for equation in found:
            atoms = {owners[v].number for v in equation}
            if len(atoms) == 1:
                sorted_[atoms.pop()].append(equation)
                continue
            for v in equation:
                sorted_[owners[v].number].append({v: 1})
    return sorted_


def _tree(axis: Atom, numbers: dict[int, int]) -> Tree:
    root = _atoms.find(axis)
    if root.kind is None:
        return numbers[root.number]
    parts: list[Tree] = []
    for part in root.parts:
        tree = _tree(part, numbers)
        if isinstance(tree, tuple) and tree[0] == root.kind:
            parts += tree[1]
        else:
            parts.append(tree)
    return root.kind, parts


def _part(axis: Axis, numbers: dict[int, int], batch: Axis) -> Part:
    """Return an axis of a value as the result shows it."""
    if axis is None:
        return Part(0)
    root = _atoms.find(axis)
    if root.kind is None:
        is_batch = batch is not None and root is _atoms.find(batch)
        return Part(root.size, numbers.get(root.number), is_batch)
    parts = tuple(_part(part, numbers, batch) for part in root.parts)
    return Part(root.size, kind=root.kind, parts=parts)


def _is_outer(above: dict[int, set[int]], other: int, n: int) -> bool:
    """Return whether a space lies over another one, of two that accompany each other.

    Permutations of both, each chosen anew for every index of the other, would depend on
    which comes first: pinned spaces and earlier ones are the outer ones.
    """
    if n not in above[other]:
        return True
    order = list(above)
    return order.index(other) < order.index(n)
