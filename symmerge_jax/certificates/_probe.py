"""A network as a function of flat leaves, and what its program tells about it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from symmerge_jax import programs, symmetry
from symmerge_jax.certificates import _narrow, _network, _widen
from symmerge_jax.typing import Array, Params, Path

_DOUBLE = float(np.finfo(np.float64).eps)
REMEDY = (
    "write it with jax.numpy (no float(), no numpy, no `if` on values), or pass the"
    " spec alone, which proves nothing"
)


@dataclasses.dataclass(frozen=True)
class Probe:
    """What is known of a network before it is run.

    Attributes:
      call: `call(leaves, inputs) -> outputs`, with the leaves by path, in float64 also
        where the network rounds to a narrower type, if that is possible (`_widen`).
      names: name of every output neuron: the entries of the last axis of an output are
        neurons, the other axes are looked at together.
      owners: `[n]` number of the output that each belongs to.
      smooth: `[n]` whether it is a floating-point number.
      shapes: the outputs, as `jax.eval_shape` returns them.
      eps: unit of rounding of the least precise type that `call` computes in; float64
        wherever that is possible.
      read: paths of the leaves that any output depends on.
    """

    call: Callable[[Mapping[Path, Any], Any], Any]
    names: tuple[str, ...]
    owners: np.ndarray
    smooth: np.ndarray
    shapes: Any
    eps: float
    read: frozenset[Path]

    @property
    def precision(self) -> str:
        """The type that `call` computes in, for messages; empty for float64."""
        types = (jnp.float32, jnp.float16, jnp.bfloat16)
        found = [jnp.dtype(t).name for t in types if jnp.finfo(t).eps >= self.eps]
        return f", computed in {found[0]}" if self.eps > _DOUBLE and found else ""


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Let JAX compute in float64, whatever is set outside.

    Networks that keep to strict promotion in their own type mix it with float64 here;
    products of a narrower type are not to be rounded further, as GPUs do.
    """
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def rounded_leaves(spec: symmetry.SymmetrySpec) -> tuple[set[Path], set[Path]]:
    """Return the parameters that scales round, and those that hold phases."""
    scales = {s.name for s in spec.spaces if s.group is symmetry.Group.SCALE}
    periodic = {s.name for s in spec.spaces if s.frequency is not None}
    scaled, phases = set(), set()
    for path, axes in spec.axes:
        for axis in symmetry.axes_in(axes):
            powers = {axis.space: axis.power} | dict(axis.also)
            if any(power and name in scales for name, power in powers.items()):
                scaled.add(path)
            if axes == (axis,) and axis.space in periodic:
                phases.add(path)
    return scaled, phases


def probe(network: _network.Network, params: Params, inputs: Any, own: Params) -> Probe:
    """Trace a network at inputs of this shape, in double precision.

    Args:
      network: what is known of it.
      params: its parameters in float64.
      inputs: in float64.
      own: the parameters in the types that they came in: the network is traced in
        these, where it takes no others.
    """
    leaves = _network.moved_leaves(params, network.spec)
    # Compiled programs keep the containers, not the weights.
    frame = symmetry.rebuild(params, dict.fromkeys(leaves, np.zeros(())))

    def call(leaves, inputs):
        return network.apply(symmetry.rebuild(frame, leaves), inputs)

    narrow = None
    try:
        jaxpr, shapes = jax.make_jaxpr(call, return_shape=True)(leaves, inputs)
        programs.refuse_leaks(jaxpr)
    except programs.NOT_PURE as error:
        raise programs.not_pure("apply", error, REMEDY) from error
    except programs.REFUSALS:
        try:
            narrow = _narrow.trace(call, leaves, inputs, own, network.inputs)
        except programs.REFUSALS as error:
            given = [np.shape(leaf) for leaf in jax.tree.leaves(inputs)]
            raise ValueError(
                f"apply(params, inputs) does not take inputs of shape {given}"
                f" ({programs.first_line(error)}): pass inputs=."
            ) from error
        jaxpr, shapes = narrow
    outputs = _numbers(shapes)
    if not sum(_num_neurons(x) for x in outputs.values()):
        raise ValueError("apply(params, inputs) returns no numbers to compare.")
    names, owners, smooth = [], [], []
    for number, (name, leaf) in enumerate(outputs.items()):
        for neuron in range(_num_neurons(leaf)):
            names.append(
                f"output {name}[..., {neuron}]" if leaf.ndim else f"output {name}"
            )
            owners.append(number)
            smooth.append(jnp.issubdtype(leaf.dtype, jnp.inexact))
    flags = _needed(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    # A dict of leaves is flattened in the order of its keys.
    paths = sorted(leaves)
    read = frozenset(p for p, flag in zip(paths, flags, strict=False) if flag)
    eps = _least_precise(jaxpr.jaxpr, _DOUBLE)
    if narrow is not None:
        wide = _narrow.widened(narrow, leaves, inputs)
        call = _narrow.rounded(narrow) if wide is None else wide
    else:
        wide = None if eps <= _DOUBLE else _widen.widened(call, leaves, inputs)
        call = wide or call
    if wide is not None:
        eps = _DOUBLE
        shapes = jax.eval_shape(call, leaves, inputs)
    return Probe(
        call,
        tuple(name.replace(" [", "[") for name in names),
        np.array(owners),
        np.array(smooth),
        shapes,
        eps,
        read,
    )


def differences(outputs: Any, reference: Any) -> tuple[Array, Array]:
    """Return the largest difference from a reference, and its largest value, `[n]`.

    Infinite where an output is not finite.
    """
    before, after = _numbers(reference).values(), _numbers(outputs).values()
    pairs = [(_rows(x), _rows(y)) for x, y in zip(before, after, strict=True)]
    return (
        jnp.concatenate([_largest(x - y) for x, y in pairs]),
        jnp.concatenate([_largest(x) for x, _ in pairs]),
    )


def _numbers(outputs: Any) -> dict[str, Any]:
    """Return the outputs that are numbers, by name."""
    found = jax.tree_util.tree_flatten_with_path(outputs)[0]
    return {
        jax.tree_util.keystr(path): leaf
        for path, leaf in found
        if jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool
    }


def _num_neurons(leaf: Any) -> int:
    return 0 if 0 in leaf.shape else (leaf.shape[-1] if leaf.ndim else 1)


def _rows(leaf: Array) -> Array:
    """Return an output as `[S, n]` in double precision."""
    wide = jnp.complex128 if jnp.issubdtype(leaf.dtype, complex) else jnp.float64
    return leaf.astype(wide).reshape(-1, _num_neurons(leaf) or 1)


def _largest(values: Array) -> Array:
    size = jnp.abs(values)
    return jnp.where(jnp.isfinite(size), size, jnp.inf).max(axis=0, initial=0)


def _least_precise(jaxpr: core.Jaxpr, eps: float) -> float:
    """Return the largest unit of rounding of any array that is computed."""
    computed = [v for equation in jaxpr.eqns for v in equation.outvars]
    for variable in [*computed, *jaxpr.outvars]:
        aval = variable.aval
        single = getattr(aval, "ndim", 0) == 0 and variable not in jaxpr.outvars
        dtype = getattr(aval, "dtype", np.dtype(bool))
        if jnp.issubdtype(dtype, jnp.inexact) and not single:
            eps = max(eps, float(jnp.finfo(dtype).eps))
    for equation in jaxpr.eqns:
        for inner in _widen.inner_programs(equation):
            eps = _least_precise(inner, eps)
    return eps


def _needed(jaxpr: core.Jaxpr, wanted: Sequence[bool]) -> list[bool]:
    """Return which arguments the wanted results depend on."""
    needed = {
        variable
        for variable, flag in zip(jaxpr.outvars, wanted, strict=True)
        if flag and not isinstance(variable, core.Literal)
    }
    for equation in reversed(jaxpr.eqns):
        flags = [variable in needed for variable in equation.outvars]
        if not any(flags):
            continue
        used = [True] * len(equation.invars)
        inner = _widen.inner_programs(equation)
        if _widen.is_call(equation) and len(inner[0].outvars) == len(flags):
            used = _needed(inner[0], flags)
        needed.update(
            variable
            for variable, flag in zip(equation.invars, used, strict=True)
            if flag and not isinstance(variable, core.Literal)
        )
    return [variable in needed for variable in jaxpr.invars]
