"""Equations of a program that do nothing but call another program."""

from typing import Any

_CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "custom_jvp_call"),
    *("custom_vjp_call", "custom_vjp_call_jaxpr", "remat", "checkpoint", "remat2"),
)
_PROGRAMS = ("call_jaxpr", "jaxpr", "fun_jaxpr")


def called_program(equation: Any) -> Any:
    """Return the program that an equation calls with its operands, None elsewhere.

    Args:
      equation: of a jaxpr.
    """
    if equation.primitive.name not in _CALLS:
        return None
    return next((equation.params[p] for p in _PROGRAMS if p in equation.params), None)
