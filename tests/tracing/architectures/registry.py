"""Small architectures written for the tests, each with what is free in it."""

import functools
import inspect
from collections.abc import Callable

from tests.tracing.architectures import (
    convolutional,
    coordinates,
    dense_prediction,
    experts,
    language,
    mobile,
    modules,
    perceptrons,
    sequences,
    vision,
)
from tests.tracing.architectures._parts import Architecture, Free, free

__all__ = ["ARCHITECTURES", "Architecture", "Free", "free"]


def _makers(module):
    """The functions of a module that need no argument and make an architecture."""
    return {
        name: make
        for name, make in inspect.getmembers(module, inspect.isfunction)
        if make.__module__ == module.__name__
        and not name.startswith("_")
        and not inspect.signature(make).parameters
    }


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    name: make
    for module in (
        convolutional,
        mobile,
        vision,
        dense_prediction,
        language,
        experts,
        sequences,
        perceptrons,
        coordinates,
        modules,
    )
    for name, make in _makers(module).items()
}
ARCHITECTURES |= {
    f"mlp_{name}": functools.partial(perceptrons.multilayer, name)
    for name in perceptrons.ACTIVATIONS
}
ARCHITECTURES |= {
    name: functools.partial(perceptrons.gated, name)
    for name in ("glu", "swiglu", "reglu")
}
