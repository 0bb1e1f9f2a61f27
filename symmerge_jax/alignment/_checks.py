"""What must hold before networks can be compared weight by weight."""

from collections.abc import Mapping

import jax
import numpy as np
from jax import core

from symmerge_jax import symmetry
from symmerge_jax.typing import Params


def check_same_architecture(named_params: Mapping[str, Params]) -> None:
    """Refuse networks whose parameters cannot be compared one by one.

    Args:
      named_params: parameters by the name that an error is to use for them, at least
        one; all are compared with the first. Arrays or traced arrays.

    Raises:
      TypeError: a leaf that is no array.
      ValueError: another tree, shape or data type, or numbers that are no floats; the
        message names the networks and the parameter.
    """
    flat = {name: symmetry.flatten(tree) for name, tree in named_params.items()}
    (first, expected), *others = flat.items()
    for name, leaves in flat.items():
        for path, leaf in leaves.items():
            _check_leaf(f"'{'/'.join(path)}' of {name}", leaf)
    for name, leaves in others:
        if leaves.keys() != expected.keys():
            show = lambda paths: sorted("/".join(path) for path in paths)  # noqa: E731
            raise ValueError(
                f"{name} has other parameters than {first}: missing"
                f" {show(expected.keys() - leaves.keys())}, unknown"
                f" {show(leaves.keys() - expected.keys())}."
            )
        for path, leaf in leaves.items():
            want = expected[path]
            if (leaf.shape, leaf.dtype) != (want.shape, want.dtype):
                raise ValueError(
                    f"Parameter '{'/'.join(path)}' has shape {leaf.shape} and type"
                    f" {leaf.dtype} in {name}, but {want.shape} and {want.dtype} in"
                    f" {first}."
                )


def check_networks(
    named_params: Mapping[str, Params], spec: symmetry.SymmetrySpec
) -> tuple[int, ...]:
    """Refuse networks that a solver cannot work on, before any work starts.

    Args:
      named_params: as for `check_same_architecture`.
      spec: the symmetry that all are to have.

    Returns:
      The batch axes that all share, `()` for one network each.

    Raises:
      TypeError: a leaf that is no array.
      ValueError: as `check_same_architecture`; parameters that do not fit the spec, an
        empty batch, and, where values are known, NaN or infinite entries.
    """
    check_same_architecture(named_params)
    batch_shape = spec.batch_shape(next(iter(named_params.values())))
    if 0 in batch_shape:
        raise ValueError("There are zero networks in the batch.")
    for name, params in named_params.items():
        if any(isinstance(leaf, core.Tracer) for leaf in jax.tree.leaves(params)):
            continue
        try:
            symmetry.check_finite(params)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return batch_shape


def _check_leaf(where: str, leaf) -> None:
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        raise TypeError(
            f"Parameter {where} must be an array, got {type(leaf).__name__}."
        )
    if not np.issubdtype(leaf.dtype, np.floating) and leaf.dtype != "bfloat16":
        raise ValueError(
            f"Parameter {where} is of type {leaf.dtype}: only real floating-point"
            " parameters can be averaged. Take counters and the like out of the tree."
        )
