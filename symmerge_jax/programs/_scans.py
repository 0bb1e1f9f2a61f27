"""What is known of a scan in a program, whatever version of JAX wrote it."""

from typing import Any


def scan_counts(equation: Any) -> tuple[int, int]:
    """Return how many constants and carries a scan has.

    The parameters that count them are not the same in all versions of JAX, but what is
    scanned over has one axis more outside of the body.

    Args:
      equation: of the primitive `scan`, in a jaxpr.
    """
    body = equation.params["jaxpr"].jaxpr

    def count(outside: Any, inside: Any) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(x.aval.ndim == y.aval.ndim for x, y in pairs)

    num_carry = count(equation.outvars, body.outvars)
    return count(equation.invars, body.invars) - num_carry, num_carry
