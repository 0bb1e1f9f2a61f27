"""Weighted means of networks in a common frame."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from symmerge_jax import programs, symmetry
from symmerge_jax.typing import Array, Params


def average(params_batch: Params, weights: Array) -> Params:
    """Return the weighted mean of networks, weight by weight, in their data types.

    Args:
      params_batch: parameters with a leading axis `[N]`, in a common frame.
      weights: `[N]`, which sum to 1; sums are at least float32.
    """

    def mean(leaf: Array) -> Array:
        if programs.namespace(leaf, weights) is np:
            dtype = np.promote_types(leaf.dtype, np.float32)
            total = np.tensordot(weights.astype(dtype), leaf.astype(dtype), 1)
        else:
            dtype = symmetry.computing_dtype(leaf)
            total = jnp.tensordot(
                jnp.asarray(weights, dtype), leaf.astype(dtype), 1, precision="highest"
            )
        return total.astype(leaf.dtype)

    return jax.tree.map(mean, params_batch)


def average_layers(
    mean: Params, params_batch: Params, weights: Mapping[str, Sequence[float | int]]
) -> Params:
    """Return a mean of networks in which some layers have weights of their own.

    Args:
      mean: of the networks, which has what is not named.
      params_batch: parameters with a leading axis `[N]`, in a common frame.
      weights: one number per network, zero or above, sum 1, by the name of a parameter
        ("layers/3/kernel") or the start of it ("layers/3"); the longest counts.

    Raises:
      ValueError: a name that no parameter has, or weights that are none (names it).
    """
    found, count = symmetry.flatten(params_batch), symmetry.num_rows(params_batch)
    unused, changed = set(weights), {}
    checked = {
        name: _check_numbers(own, count, f"Weights of '{name}'", may_be_zero=True)
        for name, own in weights.items()
    }
    for path, leaf in found.items():
        starts = ["/".join(path[:n]) for n in range(len(path), 0, -1)]
        named = [name for name in starts if name in weights]
        if not named or not symmetry.is_parameter(leaf):
            continue
        unused -= set(named)
        changed[path] = average(leaf, checked[named[0]])
    if unused:
        names = ", ".join(symmetry.name(path) for path in list(found)[:6])
        raise ValueError(
            f"No parameter's name starts with '{min(unused)}'; there are {names}"
            f"{', ...' if len(found) > 6 else ''}."
        )
    return symmetry.rebuild(mean, changed)


def average_stored(
    networks: Sequence[Params],
    elements: Sequence[symmetry.GroupElement],
    spec: symmetry.SymmetrySpec,
    weights: Array,
    *,
    memory: int,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and mean of each array of some networks, each moved by an element.

    Parameters are any arrays, for example mapped from files (`np.memmap`, mode "r").
    In memory are one array of the mean and one of each network, and besides `memory`
    for copies. What is no parameter is that of the first network, moved by its element.

    Args:
      networks: trees of one architecture; names are those of the first.
      elements: one per network; an empty one moves nothing.
      spec: symmetry of all.
      weights: `[N]`, which sum to 1; sums are at least float32.
      memory: bytes for copies.

    Raises:
      ValueError: an array that overflows in its type.
    """
    view = symmetry.atoms_of(spec, networks[0])
    flat = [symmetry.flatten(params) for params in networks]
    described = dict(spec.axes)
    for path, leaf in flat[0].items():
        count = len(flat) if symmetry.is_parameter(leaf) else 1
        if not symmetry.is_array(leaf) or (count == 1 and not any(described[path])):
            yield symmetry.name(path), leaf
            continue
        mean = np.empty(leaf.shape, leaf.dtype)
        parts, *atoms = (
            symmetry.flatten(view.view(symmetry.unflatten({path: x})))
            for x in (mean, *(leaves[path] for leaves in flat[:count]))
        )
        near = symmetry.part_of(view.spec, frozenset(parts))
        for slab in symmetry.slabs(
            atoms, elements[:count], near, max_bytes=memory // 8
        ):
            parts[slab.path][slab.place] = _weighted_sum(slab.arrays, weights)
            if count > 1 and not np.isfinite(parts[slab.path][slab.place]).all():
                raise ValueError(
                    f"Parameter '{symmetry.name(path)}' is not finite when it is moved:"
                    f" its scales overflow in {leaf.dtype}. Cast the networks to"
                    " float32 before."
                )
        yield symmetry.name(path), mean


def _weighted_sum(arrays: Sequence[np.ndarray], weights: Array) -> np.ndarray:
    """Return the weighted sum of parameters; what is none, as it is."""
    if len(arrays) == 1:
        return arrays[0]
    dtype = np.promote_types(arrays[0].dtype, np.float32)
    total = np.zeros(arrays[0].shape, dtype)
    for weight, array in zip(weights, arrays, strict=True):
        total += array.astype(dtype, copy=False) * dtype.type(weight)
    return total.astype(arrays[0].dtype)


def check_weights(weights: Sequence[float] | Array | None, num_networks: int) -> Array:
    """Return the weights of a mean, `[num_networks]`, float64, or refuse them.

    Args:
      weights: one number per network, above zero, sum 1 to 1e-6; None for equal ones.
      num_networks: number of networks.
    """
    if weights is None:
        return np.full(num_networks, 1 / num_networks)
    return _check_numbers(weights, num_networks, "Weights", may_be_zero=False)


def _check_numbers(
    weights: Any, num_networks: int, what: str, *, may_be_zero: bool
) -> Array:
    """Return weights of a mean, or refuse them; of traced ones, check shapes only."""
    traced = isinstance(weights, core.Tracer)
    try:
        array = weights if traced else np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be one number per network, got {weights!r}."
        ) from error
    if array.shape != (num_networks,):
        raise ValueError(
            f"{what}: got {array.size} weights of shape {array.shape} for"
            f" {num_networks} networks: give one number per network."
        )
    if traced:
        return array
    too_small = array < 0 if may_be_zero else array <= 0
    if not np.isfinite(array).all() or too_small.any():
        bound = "not below zero" if may_be_zero else "above zero"
        raise ValueError(
            f"{what} must be finite and {bound}, got {array.tolist()}: omit a network"
            " that is not to count."
        )
    if abs(array.sum() - 1) > 1e-6:
        raise ValueError(
            f"{what} must sum to 1, got {array.tolist()} with sum {array.sum():.8g}:"
            " divide them by their sum."
        )
    return array
