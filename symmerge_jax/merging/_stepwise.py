"""Whether a network that does not fit into memory keeps its function when it is moved.

Its program is run operation by operation. An array of the parameters is read, and
moved, where an operation takes it, and let go behind it: what is in memory is one array
in double precision, and the values of a few inputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import _average, _tape
from symmerge_jax.typing import Params, Path


def function_change(
    apply: Callable[[Params, Any], Any],
    params: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    inputs: Any,
    *,
    memory: int,
) -> float:
    """Return how much moving a stored network changes its outputs, in float64.

    Args:
      apply: `apply(params, inputs)`, the function.
      params: the network; arrays may be mapped from files.
      element: what moves it.
      spec: its symmetry.
      inputs: a few, as `apply` takes them.
      memory: bytes for copies of pieces of an array that is moved.

    Returns:
      The largest difference of an output, divided by the largest output: rounding, of
      some 1e-12, if element and spec are right. NaN if an output is not finite.

    Raises:
      TypeError, ValueError: a function that is not pure, or does not take these.
    """

    def moved(path: Path, leaf: np.ndarray) -> np.ndarray:
        part = symmetry.part_of(spec, frozenset([path]))
        tree, own = symmetry.unflatten({path: leaf}), symmetry.within(element, part)
        [(_, array)] = _average.average_stored(
            [tree], [own], part, np.ones(1), memory=memory
        )
        return array

    with jax.enable_x64(True):
        inputs = jax.tree.map(_double, inputs)
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, _wide(x.dtype)),
            {p: x for p, x in symmetry.flatten(params).items() if symmetry.is_array(x)},
        )
        tape = _tape.record(apply, symmetry.rebuild(params, like), inputs)
        known = set(spec.paths)
        outputs = [
            _outputs(tape, params, inputs, change)
            for change in (None, lambda p, x: moved(p, x) if p in known else x)
        ]
    largest = max(float(np.max(np.abs(x), initial=0)) for x in outputs[0])
    pairs = zip(*outputs, strict=True)
    change = max(float(np.max(np.abs(x - y), initial=0)) for x, y in pairs)
    return change / (largest or 1.0)


def _outputs(tape, params, inputs, change) -> list[np.ndarray]:
    """Return the outputs of a program whose parameters are changed as they are read."""

    def read(path: Path, leaf: Any) -> np.ndarray:
        array = _double(leaf)
        return array if change is None else change(path, array)

    run = _tape.Run(tape, params, jax.tree.leaves(inputs), read=read)
    run.advance(len(tape.steps))
    return [np.asarray(run.read(value), np.float64) for value in tape.outputs]


def _double(x: Any) -> Any:
    return np.asarray(x).astype(_wide(x.dtype), copy=False)


def _wide(dtype: Any) -> Any:
    return np.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype
