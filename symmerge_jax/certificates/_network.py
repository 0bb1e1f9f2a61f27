"""The network that is tried: its function, its symmetry and its inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.certificates import _generic
from symmerge_jax.typing import Params, Path

_NUM_INPUTS = 16


class Network(NamedTuple):
    """What is known of a network before it is traced.

    `input_shape` is the shape of random inputs, all axes; None for `[16, I]`, with the
    number `I` of neurons of the first space. `inputs` are given ones, or None.
    """

    apply: Callable[[Params, Any], Any]
    spec: symmetry.SymmetrySpec
    input_shape: tuple[int, ...] | None
    inputs: Any


def read(
    network: Any,
    apply: Callable[[Params, Any], Any] | None,
    inputs: Any,
    input_shape: Sequence[int] | None,
) -> Network:
    """Take the arguments of a certificate apart; refuse what excludes each other."""
    spec = symmetry.spec_of(network)
    if inputs is not None and input_shape is not None:
        raise ValueError("Pass inputs or input_shape, not both.")
    if spec is not network:
        if apply is not None:
            raise ValueError(
                "apply is that of the network: omit it, or pass network.spec to prove"
                " something about another function."
            )
        apply = network.apply
        example = getattr(network, "example", None)
        if input_shape is None and inputs is None and example is not None:
            inputs = jax.tree.map(_as_values, example)
        elif input_shape is None and inputs is None:
            input_shape = (_NUM_INPUTS, *getattr(network, "input_shape", ()))
            input_shape = input_shape if len(input_shape) > 1 else None
    if apply is None:
        raise TypeError(
            "A spec alone has no function to prove anything about: pass the network, or"
            " apply= beside its spec."
        )
    shape = None if input_shape is None else tuple(input_shape)
    return Network(apply, spec, shape, inputs)


def make_inputs(
    random: np.random.Generator, network: Network, params: Params
) -> list[tuple[str, Any]]:
    """Return inputs by a name for each, the first ones first.

    Given inputs are followed by generic ones of the same shapes and ranges; without
    any, there are random ones of several ranges. Floats are in double precision.
    """
    if network.inputs is not None:
        inputs = jax.tree.map(_as_numbers, network.inputs)
        generic = _generic.draw_like(random, inputs)
        return [("the given inputs", inputs), ("random inputs of their range", generic)]
    spec = network.spec
    width = spec.sizes(params)[spec.spaces[0].name]
    shape = network.input_shape or (_NUM_INPUTS, width)
    return [
        ("random inputs in [-1, 1]", random.uniform(-1, 1, shape)),
        ("random inputs in [0, 255]", random.uniform(0, 255, shape)),
        ("normal random inputs", random.normal(size=shape)),
    ]


def as_double(params: Params) -> Params:
    """Return parameters as float64 arrays of numpy; the rest is carried along."""
    return symmetry.rebuild(
        params,
        {
            path: np.asarray(leaf).astype(np.float64)
            for path, leaf in symmetry.flatten(params).items()
            if symmetry.is_parameter(leaf)
        },
    )


def moved_leaves(params: Params, spec: symmetry.SymmetrySpec) -> dict[Path, Any]:
    """Return the parameters, and the other arrays that are permuted with neurons."""
    axes: Mapping[Path, Any] = dict(spec.axes)
    return {
        path: np.asarray(leaf)
        for path, leaf in symmetry.flatten(params).items()
        if symmetry.is_parameter(leaf)
        or (symmetry.is_array(leaf) and any(axes.get(path, ())))
    }


def first(params: Params, spec: symmetry.SymmetrySpec) -> Params:
    """Return the first network of a batch, or the only one."""
    index = (0,) * len(spec.batch_shape(params))
    leaves = moved_leaves(params, spec)
    return symmetry.rebuild(
        params, {p: np.asarray(x[index]) for p, x in leaves.items()}
    )


def refuse_traced(*trees: Any) -> None:
    """Refuse networks whose values are not known: certificates need them."""
    if symmetry.is_traced(trees):
        raise TypeError(
            "A certificate needs the values of the networks, which jax.jit, vmap and"
            " grad hide: pass network.spec there instead of the network, and certify"
            " the result outside (certificates.compare_functions)."
        )


def _as_values(leaf: Any) -> Any:
    """Return random numbers for the shape of an input, if its values are not known."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise ValueError(
            f"The network was traced for inputs of type {leaf.dtype} by their shape"
            f" {leaf.shape} alone, and which values they may have is not known: pass"
            " inputs=, or trace it with inputs."
        )
    return np.random.default_rng(0).normal(size=leaf.shape)


def _as_numbers(leaf: Any) -> Any:
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        raise ValueError(
            "inputs were deleted, as arrays are that were donated to a compiled"
            " function: pass others as inputs=."
        )
    array = np.asarray(leaf)
    if array.dtype.kind in "biuc":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"inputs must be arrays of numbers, got {type(leaf).__name__}: bind what is"
            " no array to apply (functools.partial)."
        ) from error
