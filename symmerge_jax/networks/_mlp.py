"""Multilayer perceptrons of any depth, width and activation."""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.networks import _network
from symmerge_jax.typing import Array, Key, Params

ACTIVATIONS = {
    "relu": (jax.nn.relu, symmetry.Group.SCALE),
    "leaky_relu": (jax.nn.leaky_relu, symmetry.Group.SCALE),
    "tanh": (jnp.tanh, symmetry.Group.SIGN),
    "sine": (jnp.sin, symmetry.Group.SIGN),
    "gelu": (jax.nn.gelu, symmetry.Group.PERMUTATION),
    "silu": (jax.nn.silu, symmetry.Group.PERMUTATION),
    "sigmoid": (jax.nn.sigmoid, symmetry.Group.PERMUTATION),
    "softplus": (jax.nn.softplus, symmetry.Group.PERMUTATION),
}
"""Function and symmetry group of every known activation."""


def mlp(
    layer_sizes: Sequence[int], activation: str = "relu", *, use_bias: bool = True
) -> _network.Network:
    """Return an MLP: dense layers with an activation between them, linear output.

    Args:
      layer_sizes: neurons per layer, inputs and outputs included: `(784, 128, 10)`.
      activation: a key of `ACTIVATIONS`.
      use_bias: give every layer a bias.

    Returns:
      The network. Its parameters are `{"dense_0": {"kernel": [I, O], "bias": [O]},
      ...}` (without "bias" if there is none) and its spaces "in", "hidden_0", ...,
      "out".

    Raises:
      ValueError: fewer than two layers, a size below one, or an unknown activation.
    """
    check_layer_sizes(layer_sizes)
    _, group = find_activation(activation)
    # A sine without bias has no phase that could be folded.
    frequency = 1.0 if activation == "sine" and use_bias else None
    spec = chain_spec(group, [frequency] * (len(layer_sizes) - 2), use_bias=use_bias)
    sizes = tuple(int(n) for n in layer_sizes)
    gain = 2.0 if group is symmetry.Group.SCALE else 1.0
    hidden = (activation, len(sizes) - 2)
    return _network.Network(
        functools.partial(_init, sizes, gain, use_bias),
        functools.partial(_apply, *hidden),
        {space.name: activation for space in spec.spaces[1:-1]},
        spec,
        functools.partial(_features, *hidden),
        sizes[:1],
    )


def find_activation(name: str) -> tuple[Callable[[Array], Array], symmetry.Group]:
    """Return the function and the group of an activation."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"Unknown activation {name!r}; known are {sorted(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


def check_layer_sizes(layer_sizes: Sequence[int]) -> None:
    """Refuse anything that is no list of at least two positive sizes."""
    if len(layer_sizes) < 2 or any(int(n) != n or n < 1 for n in layer_sizes):
        raise ValueError(
            "layer_sizes must list at least input and output, each >= 1, got"
            f" {list(layer_sizes)}."
        )


def chain_spec(
    group: symmetry.Group, frequencies: Sequence[float | None], *, use_bias: bool = True
) -> symmetry.SymmetrySpec:
    """Return the spec of a chain of dense layers, one hidden space per frequency."""
    hidden = [f"hidden_{i}" for i in range(len(frequencies))]
    names = ["in", *hidden, "out"]
    axes = {
        f"dense_{i}": {
            "kernel": (symmetry.Axis(read, -1), symmetry.Axis(written)),
            **({"bias": (symmetry.Axis(written),)} if use_bias else {}),
        }
        for i, (read, written) in enumerate(itertools.pairwise(names))
    }
    spaces = [
        symmetry.Space("in", symmetry.Group.TRIVIAL),
        *(
            symmetry.Space(name, group, frequency)
            for name, frequency in zip(hidden, frequencies, strict=True)
        ),
        symmetry.Space("out", symmetry.Group.TRIVIAL),
    ]
    return symmetry.SymmetrySpec.create(axes, spaces)


def init_dense(
    key: Key, layer_sizes: Sequence[int], kernel, *, use_bias: bool = True
) -> Params:
    """Return dense layers with `kernel(key, num_read, num_written)` and zero biases."""
    params = {}
    for i, (read, written) in enumerate(itertools.pairwise(layer_sizes)):
        layer_key = jax.random.fold_in(key, i)
        layer = {"kernel": kernel(layer_key, read, written)}
        params[f"dense_{i}"] = layer | (
            {"bias": jnp.zeros(written)} if use_bias else {}
        )
    return params


def apply_dense(params: Params, x: Array, functions) -> list[Array]:
    """Return the values `[S, n]` of every layer of dense layers, outputs last."""
    values = []
    for i, function in enumerate([*functions, lambda y: y]):
        layer = params[f"dense_{i}"]
        x = x @ layer["kernel"]
        if "bias" in layer:
            x = x + layer["bias"][None]
        x = function(x)
        values.append(x)
    return values


def name_hidden(values: list[Array]) -> dict[str, Array]:
    """Return the values of the hidden layers by the names of their spaces."""
    return {f"hidden_{i}": value for i, value in enumerate(values[:-1])}


def _init(sizes: Sequence[int], gain: float, use_bias: bool, key: Key) -> Params:
    """He initialisation for ReLU, LeCun for other activations; zero biases."""

    def kernel(key, num_read, num_written):
        std = (gain / num_read) ** 0.5
        return std * jax.random.normal(key, (num_read, num_written))

    return init_dense(key, sizes, kernel, use_bias=use_bias)


def _apply(activation: str, num_hidden: int, params: Params, x: Array) -> Array:
    return _values(activation, num_hidden, params, x)[-1]


def _features(
    activation: str, num_hidden: int, params: Params, x: Array
) -> dict[str, Array]:
    return name_hidden(_values(activation, num_hidden, params, x))


def _values(activation: str, num_hidden: int, params: Params, x: Array) -> list[Array]:
    return apply_dense(params, x, [ACTIVATIONS[activation][0]] * num_hidden)
