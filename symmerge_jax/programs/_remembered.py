"""Compiled programs, kept for the next call by what the functions in them compute.

A function of the user reads data that a notebook may change, so its identity says
nothing about what it computes. It is traced anew at every call, which is cheap, and its
jaxpr with all constants is the key: a function that computes something else is compiled
again, and one that is written anew in every turn of a loop is not.
"""

import collections
import dataclasses
import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend import core

MAX_PROGRAMS = 64

_programs: collections.OrderedDict[Any, Any] = collections.OrderedDict()

NOT_PURE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
)
"""What JAX raises where a function needs the values of traced arrays, or kept some."""

REFUSALS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
)
"""What functions raise for arguments that they do not take."""


def remembered(
    build: Callable[[], Any],
    *static: Any,
    calls: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]] | None = None,
    remedy: str = "write it with jax.numpy",
) -> Any:
    """Return `build()`, or what it returned when all of the rest was equal.

    Args:
      build: makes the program; a function of some module, by whose name it is known, or
        a partial application of one.
      *static: all that the program depends on, beside the functions of the user. With
        an entry that has no hash, or a solver that holds a function, nothing is kept.
      calls: functions of the user by the name of their argument, each with arguments
        (arrays or their shapes) that it will be called with, or similar ones.
      remedy: what to do about a function that is not pure, for the message.

    Raises:
      TypeError: a function that needs the values of traced arrays.
    """
    prints = []
    for name, (function, arguments) in (calls or {}).items():
        try:
            prints.append((name, fingerprint(function, *arguments)))
        except NOT_PURE as error:
            raise not_pure(name, error, remedy) from error
        except (TypeError, ValueError, LookupError, AttributeError):
            # Not for these arguments: whoever calls it says so, if it is called at all.
            return build()
    maker = getattr(build, "func", build)
    key = (maker.__module__, maker.__qualname__, static, tuple(prints))
    try:
        hash(key)
    except TypeError:
        return build()
    if any(map(_holds_function, static)):
        return build()
    if key not in _programs:
        _programs[key] = build()
        while len(_programs) > MAX_PROGRAMS:
            _programs.popitem(last=False)
    _programs.move_to_end(key)
    return _programs[key]


def not_pure(name: str, error: Exception, remedy: str) -> TypeError:
    """Return the error to be raised of a function that cannot be compiled.

    Args:
      name: of the argument that holds it.
      error: what JAX raised, one of `NOT_PURE`.
      remedy: what to do about it.
    """
    return TypeError(
        f"{name} is not a pure JAX function: {remedy} ({first_line(error)})"
    )


def refuse_leaks(closed: core.ClosedJaxpr) -> None:
    """Refuse a program that holds what its function kept from an earlier trace.

    Raises:
      UnexpectedTracerError: one of `NOT_PURE`.
    """
    if any(isinstance(value, Tracer) for value in closed.consts):
        raise jax.errors.UnexpectedTracerError(
            "it reads a traced array that it kept from an earlier call"
        )


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip(':')}" if lines else repr(error)


def fingerprint(function: Callable[..., Any], *arguments: Any) -> bytes:
    """Return a digest of what a function computes for arguments like these.

    It is one of the jaxpr and of every constant in it.
    """

    def fresh(*arguments):  # JAX remembers what it has traced by identity
        return function(*arguments)

    closed, shape = jax.make_jaxpr(fresh, return_shape=True)(*arguments)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(jax.tree.structure((arguments, shape))).encode())
    _add_closed(digest, closed)
    return digest.digest()


def _add_closed(digest, closed: core.ClosedJaxpr) -> None:
    for constant in closed.consts:
        _add_array(digest, constant)
    _add_jaxpr(digest, closed.jaxpr)


def _add_jaxpr(digest, jaxpr: core.Jaxpr) -> None:
    numbers: dict[Any, int] = {}

    def add(*variables):
        for variable in variables:
            if isinstance(variable, core.Literal):
                _add_array(digest, variable.val)
            number = numbers.setdefault(id(variable), len(numbers))
            digest.update(f"{number}:{variable.aval};".encode())

    add(*jaxpr.constvars, *jaxpr.invars)
    for equation in jaxpr.eqns:
        digest.update(equation.primitive.name.encode())
        add(*equation.invars, *equation.outvars)
        for name in sorted(equation.params):
            digest.update(name.encode())
            _add_value(digest, equation.params[name])
    add(*jaxpr.outvars)


def _add_value(digest, value: Any) -> None:
    """Add a parameter of an equation: programs, arrays, functions, or plain values."""
    if isinstance(value, core.ClosedJaxpr):
        _add_closed(digest, value)
    elif isinstance(value, core.Jaxpr):
        _add_jaxpr(digest, value)
    elif isinstance(value, np.ndarray | jax.Array):
        _add_array(digest, value)
    elif isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        digest.update(f"({len(value)}".encode())
        for item in value:
            _add_value(digest, item)
    elif callable(value) and not isinstance(value, type):
        _add_function(digest, value)
    else:
        digest.update(repr(value).encode())


def _add_function(digest, value: Any) -> None:
    """Add a function by its code: rules of derivatives, which are new in each trace."""
    while True:
        inner = getattr(value, "f", None) or getattr(value, "func", None)
        if inner is None:
            break
        value = inner
    value = getattr(value, "__wrapped__", value)
    code = getattr(value, "__code__", None)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    digest.update(f"{getattr(value, '__module__', '')}.{name}".encode())
    digest.update(repr(id(value)).encode() if code is None else code.co_code)


def _add_array(digest, value: Any) -> None:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        digest.update(str(value.dtype).encode())
        value = jax.random.key_data(value)
    array = np.asarray(value)
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _holds_function(value: Any) -> bool:
    """Return whether a solver holds a function, of which nothing is known."""
    if isinstance(value, types.FunctionType | functools.partial):
        return True
    if dataclasses.is_dataclass(value) and callable(value):
        fields = dataclasses.fields(value)
        return any(_holds_function(getattr(value, f.name)) for f in fields)
    return False
