"""Values that are parameters, rearranged: followed forth, and undone."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax.merging._tape import Step, Tape
from symmerge_jax.typing import Array, Path

REARRANGE = ("reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims")
"""Primitives that change no number."""


class Origin(NamedTuple):
    """A value that is a parameter, rearranged.

    Attributes:
      path: of the parameter.
      steps: what rearranges it; none changes a number or leaves one out, but for the
        rows of a scan.
    """

    path: Path
    steps: tuple[Step, ...]


def undo(origin: Origin, value: Array, leaf: Array) -> Array:
    """Return a parameter whose rearranged form is a value.

    Args:
      origin: how it is rearranged.
      value: the value that is wanted.
      leaf: the parameter as it is, for what the value is only a row of.
    """
    before = [jnp.asarray(leaf)]
    for step in origin.steps:
        before.append(jnp.asarray(step.run(before[-1])[0]))
    for step, source in zip(origin.steps[::-1], before[-2::-1], strict=True):
        if step.name == "transpose":
            value = jnp.transpose(value, tuple(np.argsort(step.options["permutation"])))
        elif step.name == "row":
            value = source.at[step.options["index"]].set(value.astype(source.dtype))
        else:
            value = value.reshape(source.shape)
        value = value.astype(source.dtype)
    return value


def move_axes(step: Step, tape: Tape, operand: int, axes: tuple) -> tuple:
    """Return of which axes of a parameter the axes of a result are."""
    out = tape.shapes[step.results[0]]
    if step.name == "transpose":
        return tuple(axes[i] for i in step.options["permutation"])
    if step.name == "broadcast_in_dim":
        moved: list[Any] = [None] * len(out)
        for i, j in enumerate(step.options["broadcast_dimensions"]):
            moved[j] = axes[i]
        return tuple(moved)
    if step.name in ("reshape", "squeeze", "expand_dims"):
        long = iter(a for a, n in zip(axes, tape.shapes[operand], strict=True) if n > 1)
        return tuple(next(long, None) if n > 1 else None for n in out)
    if step.name == "row":
        return tuple(a for a in axes[1:])
    return (None,) * (len(out) - len(axes)) + tuple(axes)
