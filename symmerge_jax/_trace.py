"""The verb that derives the symmetries of any model from its program."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks, programs, symmetry, tracing
from symmerge_jax.typing import Key, Params, Path


def trace(
    apply: Callable[..., Any],
    params: Params,
    *inputs: Any,
    statistics: Sequence[str] | None = None,
) -> networks.Network:
    """Return the network of any JAX function, with the symmetry of its parameters.

    Nothing has to be declared: which axes of which parameters run over the same neurons
    and which permutations, signs and scales of these the function does not see is
    derived from its program (`tracing.infer`), for all parameters and inputs at once.
    What the program tells apart is pinned, with the reason: `network.describe()`. One
    array that stands in two places of the tree is one parameter: both move alike.

    All verbs take the network, and prove what they return as for any other.

    Args:
      apply: `apply(params, *inputs)`, any function that JAX can trace: a module of a
        library, or your own.
      params: its parameters, any pytree; shapes (`jax.eval_shape`) suffice.
      *inputs: inputs of the kind that the function takes, the samples on the first axis
        of the first one; shapes suffice for floating-point numbers. The certificates of
        the verbs run on them.
      statistics: names of parameters that are statistics of data, such as running
        means, or of trees of them; None for what Flax and PyTorch call so.

    Returns:
      The network. Its `apply` and `features` take the inputs as one argument: the only
      one, or a tuple of them.

    Raises:
      TypeError: a function that is not pure JAX, or an `apply` that is none.
      ValueError: parameters without arrays, parameters or inputs that the function does
        not take, or outputs that depend on no parameter.

    Example:
      >>> def apply(params, x):
      ...     return jax.nn.relu(x @ params["first"]) @ params["last"]
      >>> params = {"first": jnp.ones((3, 8)), "last": jnp.ones((8, 2))}
      >>> print(trace(apply, params, jnp.ones((4, 3))).describe())
      inputs: 3 fixed
        first axis 0 (read)
      first: 8 permutations and positive scales
        first axis 1 (written)
        last axis 0 (read)
      outputs: 2 fixed
        last axis 1 (written)
      pinned:
        an input: first[0]
        an output: last[1]
    """
    _check_arguments(apply, params)
    twins = _shared_leaves(params)
    if twins:
        apply = _reading_first(apply, twins)
    if statistics is None:
        statistics = _statistics_of(params)
    one = _lone_samples_doubled(apply, params, inputs)
    traced = tracing.infer(apply, params, *one, statistics=statistics)
    if set(traced.layout) <= set(traced.unused) | set(twins):
        raise ValueError("The outputs of apply depend on no parameter.")
    spec = _with_twins(tracing.to_spec(traced, params), twins)
    names = tracing.space_names(traced, params)
    pinned = dict.fromkeys(
        (f"{symmetry.name(use.path)}[{use.axis}]", str(reason))
        for use, reason in traced.reasons().items()
        if use.path not in twins
    )
    single = len(inputs) == 1
    linear = [(name, traced.spaces[n].linear) for n, name in names.items()]
    features = tracing.make_features(apply, traced, names)

    def unpack(x: Any) -> Sequence[Any]:
        return (x,) if single else x

    return networks.Network(
        init=_no_init,
        apply=lambda params, x: apply(params, *unpack(x)),
        activations={},
        spec=spec,
        features=lambda params, x: features(params, *unpack(x)),
        input_shape=tuple(jnp.shape(inputs[0])[1:]) if single else (),
        example=inputs[0] if single else tuple(inputs),
        pinned=tuple(pinned),
        linear=tuple((name, kind) for name, kind in linear if kind is not None),
    )


def _check_arguments(apply: Any, params: Params) -> None:
    """Refuse what is no function, and parameters that are none."""
    if hasattr(apply, "init") and hasattr(apply, "apply"):
        raise TypeError(
            f"apply must be a function of parameters and inputs, got a"
            f" {type(apply).__name__}: pass its method apply."
        )
    if not callable(apply):
        raise TypeError(
            "apply must be a function, as the first argument of trace(apply, params,"
            f" *inputs), got {type(apply).__name__}."
        )
    if not any(map(symmetry.is_parameter, symmetry.flatten(params).values())):
        raise ValueError(
            f"params has no arrays of floats, got {type(params).__name__}: pass the"
            " tree of weights that apply takes first."
        )


def _shared_leaves(params: Params) -> dict[Path, Path]:
    """Return the places of arrays that stand elsewhere before, and where they do."""
    places: dict[int, Path] = {}
    twins = {}
    for path, leaf in symmetry.flatten(params).items():
        if isinstance(leaf, jax.Array | np.ndarray) and symmetry.is_parameter(leaf):
            first = places.setdefault(id(leaf), path)
            if first != path:
                twins[path] = first
    return twins


def _reading_first(apply: Callable[..., Any], twins: Mapping[Path, Path]):
    """Return the function of parameters that reads every array in its first place."""

    def shared(params, *inputs):
        leaves = symmetry.flatten(params)
        leaves |= {path: leaves[first] for path, first in twins.items()}
        return apply(symmetry.rebuild(params, leaves), *inputs)

    return shared


def _with_twins(
    spec: symmetry.SymmetrySpec, twins: Mapping[Path, Path]
) -> symmetry.SymmetrySpec:
    """Return the spec where each array has the axes of its first place."""
    if not twins:
        return spec
    known = dict(spec.axes)
    axes = tuple((path, known[twins.get(path, path)]) for path in known)
    return dataclasses.replace(spec, axes=axes)


def _statistics_of(params: Params) -> list[str] | None:
    """Return the names of statistics where boxes of nnx tell them, None elsewhere.

    Those that go by their name are among them.
    """

    def is_statistic(node: Any) -> bool:
        return any(kind.__name__ == "BatchStat" for kind in type(node).__mro__)

    marked = [
        path
        for path, node in symmetry.flatten(params, is_statistic).items()
        if is_statistic(node)
    ]
    if not marked:
        return None
    named = symmetry.find_statistics(list(symmetry.flatten(params)), None)
    return [symmetry.name(path) for path in dict.fromkeys((*named, *marked))]


def _no_init(key: Key) -> Params:
    raise TypeError(
        "A traced network cannot make parameters: call the initialiser of your model."
    )


def _lone_samples_doubled(
    apply: Callable[..., Any], params: Params, inputs: Sequence[Any]
) -> Sequence[Any]:
    """Return inputs of two samples for those of one, if the function takes them.

    An axis of one entry cannot be followed through the program, and features could not
    be told which of their axes has the samples.
    """
    leaves = jax.tree.leaves(inputs)
    if not leaves or not all(jnp.shape(x)[:1] == (1,) for x in leaves):
        return inputs

    def doubled(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((2, *jnp.shape(x)[1:]), jnp.result_type(x))

    two = jax.tree.map(doubled, tuple(inputs))
    try:
        jax.eval_shape(lambda p, xs: apply(p, *xs), _shapes(params), two)
    except programs.REFUSALS:
        return inputs
    return two


def _shapes(params: Params) -> Params:
    return symmetry.rebuild(
        params,
        {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for path, leaf in symmetry.flatten(params).items()
            if symmetry.is_array(leaf)
        },
    )
