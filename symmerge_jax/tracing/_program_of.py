"""The program of a function, or one line that says why there is none."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend import core

from symmerge_jax import programs, symmetry
from symmerge_jax.typing import Params, Path

_REMEDY = (
    "write it with jax.numpy, without float(), numpy and `if` on values, and keep"
    " nothing between its calls"
)
_MAX_NAMES = 6


def program_of(
    apply: Callable[..., Any], params: Params, arrays: Mapping[Path, Any], inputs: Any
) -> core.ClosedJaxpr:
    """Return the program of `apply(params, *inputs)`, traced on shapes.

    Args:
      apply: the function.
      params: any pytree.
      arrays: the shapes of its arrays by path: the first arguments of the program.
      inputs: pytrees of arrays or shapes, one per input.

    Raises:
      TypeError: inputs that are no arrays, or a function that is not pure.
      ValueError: parameters or inputs that the function does not take.
    """
    for number, tree in enumerate(inputs):
        for leaf in jax.tree.leaves(tree):
            if not (symmetry.is_array(leaf) or np.isscalar(leaf)) or isinstance(
                leaf, str | bytes
            ):
                raise TypeError(
                    f"Input {number} has a {type(leaf).__name__}, which is no array:"
                    " bind it to apply, lambda params, x: apply(params, x, option)."
                )

    def call(flat: list[Any], xs: Any) -> Any:
        leaves = dict(zip(arrays, flat, strict=True))
        return apply(symmetry.rebuild(params, leaves), *xs)

    try:
        closed = jax.make_jaxpr(call)(list(arrays.values()), tuple(inputs))
        programs.refuse_leaks(closed)
        return closed
    except programs.NOT_PURE as error:
        raise programs.not_pure("apply", error, _REMEDY) from error
    except programs.REFUSALS as error:
        names = [symmetry.name(path) for path in arrays]
        rest = [] if len(names) <= _MAX_NAMES else ["..."]
        shapes = [str(list(np.shape(x))) for x in jax.tree.leaves(inputs)]
        what = f"inputs of shape {', '.join(shapes)}" if shapes else "no inputs"
        raise ValueError(
            "apply(params, *inputs) fails for parameters"
            f" {', '.join(names[:_MAX_NAMES] + rest)} and {what}:"
            f" {programs.first_line(error)}"
        ) from error
