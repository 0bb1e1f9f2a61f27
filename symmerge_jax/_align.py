"""The verb that moves one network onto another, without changing its function."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import alignment, symmetry
from symmerge_jax.typing import Array, Key, Params


class Alignment(NamedTuple):
    """A network moved onto another one, or `N` pairs of them.

    Attributes:
      params: `params_b` moved onto `params_a`: the same function as before.
      result: what the solver returns, with leading axes `*N` on every array; the group
        element is `result.element`, the history of the objective `result.objective`.
      certificate: difference of the function before and after, in float64; None where
        no `apply` was given.
    """

    params: Params
    result: alignment.AlignmentResult
    certificate: alignment.Certificate | None


def align(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    *,
    aligner: alignment.Aligner | None = None,
    key: Key | None = None,
    data: Any = None,
    features_fn: Callable[[Params, Any], Mapping[str, Array]] | None = None,
    loss_fn: Callable[[Params, Any], Array] | None = None,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Alignment:
    """Move `params_b` onto `params_a` along its orbit: its function does not change.

    With `apply`, this is proven and not assumed: before any work the spec is checked
    against the network (`alignment.check_spec`), and what is returned is compared with
    `params_b` as a function, in float64 (`alignment.compare`).

    Networks are any pytrees. Leaves that are no real floating-point arrays (counters,
    random keys, functions, None) are carried along: those of `params_b` come back, and
    functions are called with those of `params_a`. Statistics (`spec.statistics`) move
    with their neurons, but are not matched unless `spec.statistics_weight` says so.

    Phases of sine networks are no part of the group: fold them before
    (`symmetry.fold_phases`) if the networks were trained independently.

    Args:
      params_a: parameters of the network that stays, or of a batch of networks with
        leading axes `*N`.
      params_b: parameters of as many networks that move.
      spec: symmetry of the architecture.
      aligner: the solver; None for `alignment.WeightMatching()`, free of data.
      key: random key of the solver; None for `jax.random.key(0)`. Pairs of a batch get
        keys of their own.
      data: what the solver may look at, the same for all pairs: a tree of arrays with a
        leading axis of samples. Needs one of the next two, which read it.
      features_fn: `features_fn(params, data) -> {space: [S, n]}` for solvers that match
        activations.
      loss_fn: `loss_fn(params, data) -> []` for solvers that look at the task loss.
      apply: `apply(params, inputs) -> outputs`; None to go without a certificate.
      inputs: inputs for the certificate, beside random ones. Needs `apply`.
      tolerance: of the certificate, relative to each output; None to measure it.

    Returns:
      The moved network, what the solver found, and the certificate. Calls with an equal
      aligner and functions that compute the same are compiled once.

    Raises:
      TypeError: an aligner that is no solver, a parameter that is no array, a function
        that is not pure JAX, or `apply` under `jax.jit`, where nothing can be proven.
      ValueError: networks of different trees, shapes or types (paths are named), with
        NaN, or that do not fit the spec; options without effect; a spec that is not the
        symmetry of the network (names the space); a solver that found no element (NaN
        in the data); a result that the type of the parameters cannot hold.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.siren((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> flip = {"hidden_0": symmetry.Monomial(np.arange(8)[::-1], -np.ones(8))}
      >>> twin = symmetry.act(flip, params, network.spec)
      >>> found = align(params, twin, network.spec)
      >>> bool((found.params["dense_0"]["kernel"] == params["dense_0"]["kernel"]).all())
      True
      >>> found.result.element["hidden_0"].perm.tolist()
      [7, 6, 5, 4, 3, 2, 1, 0]
    """
    aligner = alignment.WeightMatching() if aligner is None else aligner
    check_options(aligner, data, features_fn, loss_fn, apply, inputs, tolerance, key)
    if isinstance(aligner, alignment.MergeMany | alignment.Universe):
        raise TypeError(
            f"{type(aligner).__name__} brings many networks together: pass it to merge,"
            " or its aligner to align."
        )
    opened = alignment.open_networks({"params_a": params_a, "params_b": params_b}, spec)
    batch_shape = opened.batch_shape
    check_concrete(apply, opened.params)
    say_unproven("align", apply)
    options: Any = {"inputs": inputs, "tolerance": tolerance}
    if apply is not None:
        alignment.check_spec(apply, opened.given[0], spec, **options)
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, batch_shape) if batch_shape else key
    program = remembered(
        _build, opened, data, features_fn, loss_fn, aligner, len(batch_shape)
    )
    result = call(program, opened.params[1], keys, *opened.params, data)
    finished = not alignment.is_traced((opened.params, result))
    if finished:
        check_found(aligner, result.element, opened, apply)
    params = moved(result.element, opened.given[1], spec, len(batch_shape))
    certificate = None
    if finished:
        check_representable("params_b, when aligned,", params)
    if apply is not None:
        before = opened.given[1]
        certificate = alignment.compare(apply, before, params, spec, **options)
        certificate.require("params_b, when aligned,")
    return Alignment(params, result, certificate)


def check_options(
    aligner, data, features_fn, loss_fn, apply, inputs, tolerance, key
) -> None:
    """Refuse arguments that cannot work, or would have no effect."""
    if isinstance(aligner, type) or not callable(aligner):
        raise TypeError(
            "aligner must be a solver, as alignment.WeightMatching() is, or what"
            f" TrainedMatcher.aligner() returns, got {aligner!r}."
        )
    if data is not None and features_fn is None and loss_fn is None:
        raise ValueError("data is read by features_fn or loss_fn only: pass one.")
    alignment.check_data(data)
    if apply is None and (inputs is not None or tolerance is not None):
        name = "tolerance is" if inputs is None else "inputs are"
        raise ValueError(f"{name} for the certificate, which needs apply: pass it.")
    functions = {"features_fn": features_fn, "loss_fn": loss_fn, "apply": apply}
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, got {function!r}.")
    if key is not None and not symmetry.is_array(key):
        raise TypeError(
            f"key must be a random key, as jax.random.key({key}) is, got {key!r}."
        )


def check_found(aligner, element, opened, apply) -> None:
    """Refuse what is no element: NaN in the data, or a solver that is at fault."""
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[len(opened.batch_shape) :], x.dtype),
        opened.params[0],
    )
    sizes = opened.spec.sizes(one)
    name = getattr(type(aligner), "__name__", "The solver")
    # Factors of another group are seen by the certificate, which measures the damage.
    alignment.check_element(element, opened.spec, sizes, name, factors=apply is None)


def check_concrete(apply, networks) -> None:
    """Refuse a certificate of networks whose values are not known."""
    if apply is not None and alignment.is_traced(networks):
        raise TypeError(
            "A certificate needs the values of the networks, which jax.jit, vmap and"
            " grad hide: leave `apply` out there, and certify the result outside"
            " (alignment.compare)."
        )


def check_representable(what: str, params: Params) -> None:
    """Refuse a result that overflows in the data type of its parameters."""
    try:
        symmetry.check_finite(params)
    except ValueError as error:
        [cause, *_] = str(error).split(" Repair or drop")
        raise ValueError(
            f"{what} does not fit its data type, in which its scales overflow: {cause}"
            " Cast the networks to float32 before, or balance the scales of all"
            " (symmetry.balance_scales)."
        ) from error


_unproven: set[str] = set()


def say_unproven(verb: str, apply: Callable[..., Any] | None) -> None:
    """Say once per verb that a spec was believed and not tested."""
    if apply is None and verb not in _unproven:
        _unproven.add(verb)
        logging.getLogger("symmerge_jax").warning(
            "%s was called without apply=: that the spec fits the network was not"
            " proven, and a wrong one (an axis that another library stores first, say)"
            " gives a wrong network without an error.",
            verb,
        )


def remembered(build, opened, data, features_fn, loss_fn, aligner, *rest) -> Any:
    """Return the compiled program of a solver for networks like these."""
    num_batch_axes = len(opened.batch_shape)
    dtype = symmetry.computing_dtype(opened.params[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[num_batch_axes:], dtype),
        opened.params[0],
    )
    features_fn, loss_fn = opened.function(features_fn), opened.function(loss_fn)
    functions = {"features_fn": features_fn, "loss_fn": loss_fn}
    return alignment.remembered(
        functools.partial(build, opened.spec, aligner, features_fn, loss_fn, *rest),
        opened.spec,
        aligner,
        *rest,
        calls={n: (f, (shapes, data)) for n, f in functions.items() if f is not None},
    )


def call(program: Callable[..., Any], params: Params, *arguments: Any) -> Any:
    """Call a compiled program in the precision of the parameters.

    Where JAX has float64 switched off, it is switched on for the call if any parameter
    has that type, and the results are arrays of numpy.
    """
    double = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(params))
    if not double or jax.config.jax_enable_x64:  # pyright: ignore
        return program(*arguments)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, program(*arguments))


def moved(
    element: symmetry.GroupElement,
    params: Params,
    spec: symmetry.SymmetrySpec,
    num_batch_axes: int = 0,
) -> Params:
    """Return a whole network, or a batch, moved by an element: as the caller's tree."""
    leaves = symmetry.flatten(params)
    floats = {p: x for p, x in leaves.items() if symmetry.is_parameter(x)}
    tree = symmetry.unflatten(floats)
    spec_of_floats = spec.restrict(tree)
    program = alignment.remembered(
        functools.partial(_build_move, spec_of_floats, num_batch_axes),
        spec_of_floats,
        num_batch_axes,
    )
    found = symmetry.flatten(call(program, tree, element, tree))
    whole = symmetry.rebuild(params, found)
    return move_integers(element, whole, spec, num_batch_axes)


def move_integers(
    element: symmetry.GroupElement,
    params: Params,
    spec: symmetry.SymmetrySpec,
    num_batch_axes: int,
) -> Params:
    """Return a network, or a batch, in which only what is no parameter has moved.

    Outside of JAX where values are known: it would cut integers to 32 bits.
    """
    leaves = symmetry.flatten(params)
    found = {}
    for path, axes in spec.axes:
        if not any(axes) or symmetry.is_parameter(leaves[path]):
            continue
        leaf = leaves[path]
        numbers = jnp if alignment.is_traced((leaf, element)) else np
        for number, axis in enumerate(axes):
            if axis is not None and axis.space in element:
                perm = numbers.asarray(element[axis.space].perm)
                starts = np.arange(axis.repeat, dtype=perm.dtype) * perm.shape[-1]
                starts = starts.reshape(*[1] * (perm.ndim - 1), -1, 1)
                index = starts + perm[..., None, :]
                index = index.reshape(*perm.shape[:-1], -1)
                shape = [1] * (leaf.ndim - num_batch_axes)
                shape[number] = -1
                index = index.reshape(*index.shape[:-1], *shape)
                leaf = numbers.take_along_axis(leaf, index, num_batch_axes + number)
        found[path] = leaf
    return symmetry.rebuild(params, found)


def widen(params: Params) -> Params:
    """Return parameters in one type: float32, or float64 where any has that."""
    dtype = symmetry.computing_dtype(params)
    return jax.tree.map(lambda x: x.astype(dtype), params)


def _build(spec, aligner, features_fn, loss_fn, num_batch_axes: int):
    """Return the compiled solver for networks with this many leading axes."""

    def program(key, params_a, params_b, data):
        problem = alignment.AlignmentProblem(
            params_a=widen(params_a),
            params_b=widen(params_b),
            data=data,
            spec=spec,
            features_fn=features_fn,
            loss_fn=loss_fn,
        )
        return aligner(key, problem)

    for _ in range(num_batch_axes):
        program = jax.vmap(program, (0, 0, 0, None))
    return jax.jit(program)


def _build_move(spec, num_batch_axes: int):
    """Return the compiled action on networks with this many leading axes."""
    program = functools.partial(_act, spec=spec)
    for _ in range(num_batch_axes):
        program = jax.vmap(program)
    return jax.jit(program)


def _act(element, params, *, spec):
    return symmetry.act(element, params, spec)
