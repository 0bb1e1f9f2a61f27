"""The door of every verb: what must hold before networks are compared or moved.

Networks come as any pytrees. Their parameters are compared by name; everything else
(counters, random keys, functions) is carried along. What the solvers get has
the containers of the first network and None in the place of what is no parameter.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax.symmetry import _axes, _spec, _tree
from symmerge_jax.typing import Params, Path


class Networks(NamedTuple):
    """Checked networks, as the solvers take them.

    Attributes:
      given: each network as it came, on the devices of the first.
      params: each network in the containers of the first, what is no parameter as None.
      carried: what is no parameter, of the first network.
      batch_shape: leading axes that all share.
      spec: their symmetry, of the parameters alone.
    """

    given: tuple[Params, ...]
    params: tuple[Params, ...]
    carried: Params
    batch_shape: tuple[int, ...]
    spec: _spec.SymmetrySpec

    def function(self, function: Callable[..., Any] | None) -> Any:
        """Return a function of whole networks as one of their parameters."""
        return with_carried(function, self.carried)


def spec_of(network: Any) -> _spec.SymmetrySpec:
    """Return the symmetry of a network: its `spec`, or itself if it is one.

    Raises:
      TypeError: anything else.
    """
    spec = getattr(network, "spec", network)
    if not isinstance(spec, _spec.SymmetrySpec):
        raise TypeError(
            "network must be a networks.Network, or a SymmetrySpec, got"
            f" {type(network).__name__}."
        )
    return spec


def open_networks(
    named_params: Mapping[str, Params], spec: _spec.SymmetrySpec
) -> Networks:
    """Check networks as `check_networks` does, and take them apart for the solvers.

    Args:
      named_params: networks by the name that an error is to use for them.
      spec: the symmetry that all are to have.

    Returns:
      What the solvers work on.
    """
    batch_shape = check_networks(named_params, spec)
    first, *others = named_params.values()
    given = (first, *(on_devices_of(first, params) for params in others))
    base, carried = _tree.split(first)
    params = tuple(_tree.rebuild(base, _parameters(one)) for one in given)
    return Networks(given, params, carried, batch_shape, spec.restrict(first))


def with_carried(function: Callable[..., Any] | None, carried: Params) -> Any:
    """Return a function of whole networks as one of their parameters.

    Args:
      function: `function(params, ...)`, or None.
      carried: what `split` has put aside; if nothing, the function is returned as it
        is.
    """
    if function is None or not jax.tree.leaves(carried):
        return function

    @functools.wraps(function)
    def of_parameters(params, *arguments):
        return function(_tree.join(params, carried), *arguments)

    return of_parameters


def check_same_architecture(named_params: Mapping[str, Params]) -> None:
    """Refuse networks whose parameters cannot be compared one by one.

    Args:
      named_params: parameters by the name that an error is to use for them, at least
        one; all are compared with the first. Arrays or traced arrays.

    Raises:
      TypeError: a network that is a result of ours or another object, a parameter that
        is no array.
      ValueError: another tree, shape or data type; the message names the networks and
        the parameter.
    """
    flat = {}
    for name, params in named_params.items():
        _check_is_network(name, params)
        flat[name] = _parameters(params, name)
    (first, expected), *others = flat.items()
    _check_numbers(named_params)
    for name, leaves in others:
        for path in sorted(expected.keys() ^ leaves.keys()):
            suspect = name if path in expected else first
            _check_leaf(path, _tree.flatten(named_params[suspect]), suspect)
        if leaves.keys() != expected.keys():
            raise ValueError(
                f"{name} has other parameters than {first}: missing"
                f" {_names(expected.keys() - leaves.keys())}, unknown"
                f" {_names(leaves.keys() - expected.keys())}."
            )
        for path, leaf in leaves.items():
            want = expected[path]
            if (leaf.shape, leaf.dtype) != (want.shape, want.dtype):
                raise ValueError(
                    f"Parameter '{_tree.name(path)}' has shape {leaf.shape} and type"
                    f" {leaf.dtype} in {name}, but {want.shape} and {want.dtype} in"
                    f" {first}."
                )


def check_networks(
    named_params: Mapping[str, Params], spec: _spec.SymmetrySpec
) -> tuple[int, ...]:
    """Return the leading axes of networks, or refuse what no solver can work on.

    Args:
      named_params: as for `check_same_architecture`.
      spec: the symmetry that all are to have.

    Raises:
      TypeError, ValueError: as `check_same_architecture`; parameters that do not fit
        the spec, an empty batch or layer, and, where values are known, NaN or infinity.
    """
    check_same_architecture(named_params)
    for name, params in named_params.items():
        leaves = _tree.flatten(params)
        for path, axes in spec.axes:
            moves = any(axis.power for axis in _axes.axes_in(axes))
            if path in leaves and (moves or not _tree.is_array(leaves[path])):
                _check_leaf(path, leaves, name)
    params = next(iter(named_params.values()))
    batch_shape = spec.batch_shape(params)
    if 0 in batch_shape:
        raise ValueError("There are zero networks in the batch.")
    leaves = _tree.flatten(params)
    for path, axes in spec.axes:
        if any(axes) and 0 in leaves[path].shape:
            raise ValueError(
                f"Parameter '{_tree.name(path)}' has shape {leaves[path].shape}: a"
                " layer without neurons cannot be aligned: omit it."
            )
    for name, params in named_params.items():
        if not _tree.is_traced(params):
            _tree.check_finite(params, f"{name}: ")
    return batch_shape


def _parameters(params: Params, name: str = "params") -> dict[Path, Any]:
    """Return the parameters of a network by path, and refuse what only looks so."""
    leaves = _tree.flatten(params)
    for path, leaf in leaves.items():
        dtype = leaf.dtype if _tree.is_array(leaf) else type(leaf)
        if dtype is complex or jax.dtypes.issubdtype(dtype, np.complexfloating):
            _check_leaf(path, leaves, name)
    return {p: x for p, x in leaves.items() if _tree.is_parameter(x)}


def _check_numbers(named_params: Mapping[str, Params]) -> None:
    """Refuse floats of Python that differ: they would have to be averaged."""
    (_, first), *others = named_params.items()
    expected = _tree.flatten(first)
    for name, params in others:
        for path, leaf in _tree.flatten(params).items():
            if isinstance(leaf, float) and leaf != expected.get(path, leaf):
                _check_leaf(path, {path: leaf}, name)


def _check_is_network(name: str, params: Params) -> None:
    if isinstance(params, tuple) and hasattr(params, "certificate"):
        raise TypeError(
            f"{name} must be parameters, got {type(params).__name__}: pass its .params."
        )
    if jax.tree_util.all_leaves([params]):
        raise TypeError(
            f"{name} must be a tree of arrays (nested dicts, lists, modules), got"
            f" {type(params).__name__}."
        )


def _check_leaf(path: Path, leaves: Mapping[Path, Any], name: str) -> None:
    """Refuse what stands in the place of a parameter and is none."""
    where = f"Parameter '{_tree.name(path)}' of {name}"
    if path not in leaves:
        if inner := [p for p in leaves if p[: len(path)] == path]:
            kind = "list" if inner[0][len(path)].isdecimal() else "tree"
            raise TypeError(f"{where} must be an array, got {kind}.")
        return
    leaf = leaves[path]
    if not _tree.is_array(leaf):
        raise TypeError(f"{where} must be an array, got {type(leaf).__name__}.")
    if not _tree.is_parameter(leaf):
        raise ValueError(
            f"{where} is of type {leaf.dtype}: only real floating-point parameters can"
            " be scaled and averaged."
        )


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted(map(_tree.name, paths))


def on_devices_of(first: Params, params: Params) -> Params:
    """Return parameters on the devices of others, where these are elsewhere.

    Args:
      first: parameters that stay where they are.
      params: parameters of the same names; what is traced, or no array of JAX, stays.
    """
    homes = _tree.flatten(first)

    def moved(leaf, home):
        known = isinstance(leaf, jax.Array) and isinstance(home, jax.Array)
        if not known or _tree.is_traced(leaf, home):
            return leaf
        if leaf.sharding.device_set == home.sharding.device_set:
            return leaf
        return jax.device_put(leaf, home.sharding)

    leaves = _tree.flatten(params)
    return _tree.rebuild(params, {p: moved(x, homes.get(p)) for p, x in leaves.items()})
