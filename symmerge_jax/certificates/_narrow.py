"""A network that can be traced in its own types only, as a function of float64.

Cells of recurrences begin with a carry of float32, and some models refuse parameters of
another type than theirs. They are traced as they are used, and that program is run in
float64; where this is impossible, in the types that it was written for.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from symmerge_jax import symmetry
from symmerge_jax.certificates import _widen
from symmerge_jax.typing import Params, Path


class Program(NamedTuple):
    """The program of a network in its own types, and what it returns."""

    closed: core.ClosedJaxpr
    shapes: Any


def trace(
    call: Callable[..., Any],
    leaves: Mapping[Path, Any],
    inputs: Any,
    params: Params,
    given: Any,
) -> Program:
    """Trace `call(leaves, inputs)` in the types that its arguments came in.

    Args:
      call: the network.
      leaves: its parameters by path, in float64.
      inputs: in float64.
      params: the parameters as they came; what was float64 is taken for float32.
      given: the inputs as they came, or None.
    """
    own = symmetry.flatten(params)
    narrow = {path: _like(leaf, own.get(path)) for path, leaf in leaves.items()}
    given = inputs if given is None else given
    with jax.enable_x64(False):
        return Program(
            *jax.make_jaxpr(call, return_shape=True)(
                narrow, jax.tree.map(_like, inputs, given)
            )
        )


def widened(program: Program, *arguments: Any) -> Callable[..., Any] | None:
    """Return the function computed in float64, or None if that is not possible."""
    return _widen.widened_program(
        program.closed, jax.tree.structure(program.shapes), *arguments
    )


def rounded(program: Program) -> Callable[..., Any]:
    """Return the function of float64 arguments, computed in its own types."""
    run = core.jaxpr_as_fun(program.closed)
    structure = jax.tree.structure(program.shapes)
    types = [aval.dtype for aval in program.closed.in_avals]

    def call(*arguments):
        leaves = jax.tree.leaves(arguments)
        narrow = [x.astype(t) for x, t in zip(leaves, types, strict=True)]
        return jax.tree.unflatten(structure, run(*narrow))

    return call


def _like(leaf: Any, own: Any) -> Any:
    """Return a leaf in the type that it came in, below float64."""
    dtype = getattr(own, "dtype", np.asarray(leaf).dtype)
    if jnp.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    if dtype in (np.float64, np.complex128):
        dtype = np.float32 if dtype == np.float64 else np.complex64
    return jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.canonicalize_dtype(dtype))
