"""The table of rules: one for each primitive, by the names it has had.

A rule takes the interpreter, the equation and the abstract values of its operands, and
returns those of its results. Its docstring states the lemma that it stands on: if the
operands transform by their types under a symmetry, so do the results by theirs.
"""

from collections.abc import Callable, Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._values import Value

Rule = Callable[..., Value | Sequence[Value]]

RULES: dict[str, Rule] = {}

READS_INDICES: set[str] = set()
"""Primitives whose rules know values that are indices; elsewhere they are numbers."""

RENAMED = {
    "jit": ("pjit",),
    "checkpoint": ("remat", "remat2"),
    "copy": ("copy_p",),
    "custom_vjp_call": ("custom_vjp_call_jaxpr",),
    "call": ("core_call", "named_call", "xla_call"),
    "sharding_constraint": ("mesh_cast", "reshard"),
    "scatter_add": ("scatter-add",),
    "scatter_sub": ("scatter-sub",),
    "scatter_mul": ("scatter-mul",),
    "scatter_min": ("scatter-min",),
    "scatter_max": ("scatter-max",),
}
"""Primitives that bear other names in some versions of JAX from 0.10 on."""


def rule(*names: str, indices: bool = False) -> Callable[[Rule], Rule]:
    """Register a function as the rule of these primitives.

    Args:
      *names: of the primitives, as the newest JAX calls them.
      indices: whether it knows what to do with values that are indices.
    """

    def add(function: Rule) -> Rule:
        for name in names:
            for known in (name, *RENAMED.get(name, ())):
                RULES[known] = function
                if indices:
                    READS_INDICES.add(known)
        return function

    return add


def unknown(ctx: Any, eqn: Any, *values: Value) -> Sequence[Value]:
    """An operation without a rule may do anything: it pins all that it touches."""
    name = eqn.primitive.name
    text = f"{name} has no rule"
    cost = ctx.unknown.setdefault(name, [])
    for value in values:
        for axis in value.axes:
            cost += [leaf for leaf in _atoms.leaves(axis) if not leaf.pinned]
        ctx.kill(value, text)
    return ctx.all_fixed(eqn, text)


def source_of(equations: Sequence[Any]) -> str:
    """Return the line of the user's code that an equation stems from.

    Programs of jitted functions of a library bear the line that first called them:
    where the user has not written what is called, the line of the call counts.

    Args:
      equations: the equation, after those whose programs it is in, outermost first.
    """
    source, name = "", None
    for equation in equations:
        frames = _frames(equation)
        known = {frame.function_name for frame in frames}
        if not frames or (name is not None and name not in known):
            break
        first = frames[0]
        file = first.file_name.rsplit("/", 1)[-1]
        source = f"{file}:{first.line_num} ({first.function_name})"
        name = equation.params.get("name")
    return source


def _frames(equation: Any) -> list[Any]:
    """Return the frames in files of the user, innermost first."""
    traceback = getattr(equation.source_info, "traceback", None)
    frames = []
    for frame in traceback.frames if traceback is not None else ():
        file = frame.file_name
        if "/symmerge_jax/tracing/" in file:
            break
        if "site-packages" not in file and not file.startswith("<frozen"):
            frames.append(frame)
    return frames
