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
    num_hidden = len(layer_sizes) - 2
    sizes = tuple(int(n) for n in layer_sizes)
    gain = 2.0 if group is symmetry.Group.SCALE else 1.0
    return chain(
        functools.partial(_init, sizes, gain, use_bias),
        [functools.partial(activate, activation)] * num_hidden,
        activation,
        chain_spec(group, [frequency] * num_hidden, use_bias=use_bias),
        sizes,
    )


def chain(
    init: Callable[[Key], Params],
    functions: Sequence[Callable[[Array], Array]],
    activation: str,
    spec: symmetry.SymmetrySpec,
    sizes: tuple[int, ...],
    offset: float | None = None,
) -> _network.Network:
    """Return dense layers with functions between them, and an offset behind the last.

    The functions must be of a kind that can be pickled.
    """
    return _network.Network(
        init,
        functools.partial(_apply, functions, offset),
        {space.name: activation for space in spec.spaces[1:-1]},
        spec,
        functools.partial(_features, functions),
        sizes[:1],
    )


def activate(name: str, x: Array) -> Array:
    """Return the values of an activation, of a key of `ACTIVATIONS`."""
    return ACTIVATIONS[name][0](x)


def find_activation(name: str) -> tuple[Callable[[Array], Array], symmetry.Group]:
    """Return the function and the group of an activation."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"Unknown activation {name!r}; known are {sorted(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


def check_layer_sizes(layer_sizes: Sequence[int]) -> None:
    """Refuse anything that is not a list of at least two positive sizes."""
    if len(layer_sizes) < 2 or any(int(n) != n or n < 1 for n in layer_sizes):
        raise ValueError(
            "layer_sizes must list at least input and output, each >= 1, got"
            f" {list(layer_sizes)}."
        )


def chain_spec(
    group: symmetry.Group, frequencies: Sequence[float | None], *, use_bias: bool = True
) -> symmetry.SymmetrySpec:
    """Return the spec of a chain of dense layers, one hidden space per frequency."""
    spaces = spaces_of(group, frequencies)
    names = itertools.pairwise(space.name for space in spaces)
    axes = {
        f"dense_{i}": dense_axes(*ends, use_bias=use_bias)
        for i, ends in enumerate(names)
    }
    return symmetry.SymmetrySpec.create(axes, spaces)


def spaces_of(
    group: symmetry.Group, frequencies: Sequence[float | None]
) -> list[symmetry.Space]:
    """Return the spaces "in", "hidden_0", ..., "out", one hidden one per frequency."""
    hidden = [
        symmetry.Space(f"hidden_{i}", group, frequency)
        for i, frequency in enumerate(frequencies)
    ]
    trivial = symmetry.Group.TRIVIAL
    return [symmetry.Space("in", trivial), *hidden, symmetry.Space("out", trivial)]


def dense_axes(
    read: str, written: str, *, use_bias: bool = True
) -> dict[str, tuple[symmetry.Axis, ...]]:
    """Return the axes of a dense layer between two spaces."""
    kernel = (symmetry.Axis(read, -1), symmetry.Axis(written))
    return {"kernel": kernel} | ({"bias": kernel[1:]} if use_bias else {})


def init_chain(
    key: Key,
    sizes: Sequence[int],
    kernel: Callable[[Key, int, int], Array],
    *,
    use_bias: bool = True,
) -> Params:
    """Return dense layers with `kernel(key, num_read, num_written)` and zero biases."""
    params = {}
    for i, (read, written) in enumerate(itertools.pairwise(sizes)):
        layer = {"kernel": kernel(jax.random.fold_in(key, i), read, written)}
        params[f"dense_{i}"] = layer | (
            {"bias": jnp.zeros(written)} if use_bias else {}
        )
    return params


def dense(layer: Params, x: Array) -> Array:
    """Return the values of a dense layer, `[S, I]` to `[S, O]`."""
    x = x @ layer["kernel"]
    return x + layer["bias"][None] if "bias" in layer else x


def _init(sizes: Sequence[int], gain: float, use_bias: bool, key: Key) -> Params:
    """He initialisation for ReLU, LeCun for other activations; zero biases."""

    def kernel(key: Key, num_read: int, num_written: int) -> Array:
        std = (gain / num_read) ** 0.5
        return std * jax.random.normal(key, (num_read, num_written))

    return init_chain(key, sizes, kernel, use_bias=use_bias)


def _apply(
    functions: Sequence[Callable[[Array], Array]],
    offset: float | None,
    params: Params,
    x: Array,
) -> Array:
    for value in _features(functions, params, x).values():
        x = value
    x = dense(params[f"dense_{len(functions)}"], x)
    return x if offset is None else x + offset


def _features(
    functions: Sequence[Callable[[Array], Array]], params: Params, x: Array
) -> dict[str, Array]:
    values = {}
    for i, function in enumerate(functions):
        x = function(dense(params[f"dense_{i}"], x))
        values[f"hidden_{i}"] = x
    return values
