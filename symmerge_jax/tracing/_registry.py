"""The table of rules: one for each primitive, by the names it has had.

A rule takes the interpreter, the equation and the abstract values of its operands, and
returns those of its results. Its docstring states the lemma that it stands on: if the
operands transform by their types under a symmetry, so do the results by theirs.
"""

from collections.abc import Callable, Sequence
from typing import Any

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


def source_of(equation: Any) -> str:
    """Return file, line and function of the user's code that an equation stems from."""
    traceback = getattr(equation.source_info, "traceback", None)
    if traceback is None:
        return ""
    for frame in traceback.frames:
        file = frame.file_name
        if "site-packages" in file or file.startswith("<frozen"):
            continue
        if "/symmerge_jax/tracing/" in file:
            break
        return f"{file.rsplit('/', 1)[-1]}:{frame.line_num} ({frame.function_name})"
    return ""
