"""What methods behind the mean need to know of a network."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp

from symmerge_jax import symmetry


@runtime_checkable
class Architecture(Protocol):
    """A function of parameters and inputs, and its symmetry."""

    @property
    def apply(self) -> Any: ...
    @property
    def spec(self) -> symmetry.SymmetrySpec: ...
    @property
    def example(self) -> Any: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...


def example(network: Architecture) -> Any:
    """Return a few inputs of the shape and type that a network takes."""
    if network.example is not None:
        return network.example
    return jnp.zeros((2, *network.input_shape))
