"""The verb that makes one network of several."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import _align, alignment, merging, symmetry
from symmerge_jax.typing import Array, Key, Params


class Merge(NamedTuple):
    """Several networks in one frame, and their mean.

    Attributes:
      params: the merged network, the weighted mean of `aligned`.
      aligned: the networks in the common frame, on a leading axis `[N]`: each has the
        function that it came with. The frame is that of the first network, with
        balanced scales and folded phases.
      result: what the solver returns: the elements on a leading axis `[N]`, the history
        of the spread in balanced scales, and so on (`alignment.ManyResult`).
      certificate: `[N]` difference of each function before and after, in float64; None
        where no `apply` was given.
    """

    params: Params
    aligned: Params
    result: alignment.ManyResult
    certificate: alignment.Certificate | None


def merge(
    params_list: Iterable[Params],
    spec: symmetry.SymmetrySpec,
    *,
    aligner: alignment.Aligner | alignment.MergeMany | alignment.Universe | None = None,
    weights: Sequence[float] | Array | None = None,
    key: Key | None = None,
    data: Any = None,
    features_fn: Callable[[Params, Any], Mapping[str, Array]] | None = None,
    loss_fn: Callable[[Params, Any], Array] | None = None,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Merge:
    """Return the weighted mean of two or more networks in a common frame.

    Three steps that keep every function, then the mean, which does not:

    1. phases of sine neurons are folded (`symmetry.fold_phases`);
    2. positive scales are balanced (`symmetry.balance_scales`): the mean of two twins
       in different scales is another function;
    3. permutations and signs bring the networks close to each other.

    With `apply` this is proven: the spec is checked against the network before any
    work, and every network in the common frame is compared with what it was, as a
    function, in float64.

    Networks are any pytrees; the tree of the first comes back. What is no parameter
    (counters, random keys, functions, None) is neither averaged nor rounded: the merged
    network has what the first one has.

    Args:
      params_list: parameters of each network, at least two.
      spec: symmetry of the architecture.
      aligner: `alignment.MergeMany` or `alignment.Universe`, which bring any number of
        networks together; or a solver for pairs, to be used by `MergeMany`; None for
        `MergeMany(aligner=WeightMatching())`. A learned solver compares networks, not
        their means: use it as `MergeMany(init=learned)`.
      weights: one per network, above zero, sum 1; None for equal ones.
      key: random key of the solver; None for `jax.random.key(0)`.
      data: see `align`.
      features_fn: see `align`.
      loss_fn: see `align`.
      apply: `apply(params, inputs) -> outputs`; None to go without a certificate.
      inputs: inputs for the certificate, beside random ones. Needs `apply`.
      tolerance: of the certificate, relative to each output; None to measure it.

    Returns:
      The merged network, the aligned ones, what the solver found, and the certificate.

    Raises:
      TypeError: no list, and what `align` refuses.
      ValueError: fewer than two networks, or batches of networks; weights that do not
        sum to 1; and what `align` refuses, with the number of the network.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> reverse = {"hidden_0": symmetry.Monomial(np.arange(8)[::-1], np.full(8, 3.0))}
      >>> twin = symmetry.act(reverse, params, network.spec)
      >>> found = merge([params, twin], network.spec, apply=network.apply)
      >>> x = np.ones((1, 2))
      >>> y, z = network.apply(found.params, x), network.apply(params, x)
      >>> bool(abs(y - z).max() < 1e-5), bool(found.certificate.passed.all())
      (True, True)
    """
    if aligner is None:
        aligner = alignment.WeightMatching()
    _align.check_options(
        aligner, data, features_fn, loss_fn, apply, inputs, tolerance, key
    )
    if not isinstance(aligner, alignment.MergeMany | alignment.Universe):
        aligner = alignment.MergeMany(aligner=aligner)
    given = _as_list(params_list)
    named = {f"network {number}": params for number, params in enumerate(given)}
    opened = alignment.open_networks(named, spec)
    if opened.batch_shape:
        raise ValueError(
            "merge takes one network per entry of the list, but they have leading axes"
            f" {opened.batch_shape}: split them, or lift the solver with jax.vmap."
        )
    weights = merging.check_weights(weights, len(given))
    _align.check_concrete(apply, opened.params)
    _align.say_unproven("merge", apply)
    options: Any = {"inputs": inputs, "tolerance": tolerance}
    if apply is not None:
        alignment.check_spec(apply, opened.given[0], spec, **options)
    double = any(x.dtype == np.float64 for x in jax.tree.leaves(opened.params))
    program = _align.remembered(_build, opened, data, features_fn, loss_fn, aligner)
    merged, aligned, result = _align.call(
        program,
        opened.params[0],
        jax.random.key(0) if key is None else key,
        opened.params,
        weights.astype(np.float64 if double else np.float32),
        data,
    )
    finished = not alignment.is_traced((opened.params, merged))
    if finished:
        _align.check_found(aligner, result.elements, opened, apply)
    stacked = _stack(opened.given)
    # Whole networks: what is carried along stands where it stood.
    merged = symmetry.rebuild(opened.given[0], symmetry.flatten(merged))
    integers = _align.move_integers(result.elements, stacked, spec, 1)
    aligned = symmetry.rebuild(integers, symmetry.flatten(aligned))
    if finished:
        _align.check_representable("The merged network", merged)
        _align.check_representable("A network, when aligned,", aligned)
    certificate = None
    if apply is not None:
        certificate = alignment.compare(apply, stacked, aligned, spec, **options)
        certificate.require("A network, when aligned,")
    return Merge(merged, aligned, result, certificate)


def _as_list(params_list: Any) -> list[Params]:
    """Return the networks as a list, and refuse what is a single one."""
    is_list = isinstance(params_list, list | tuple) and not hasattr(
        params_list, "_fields"
    )
    if isinstance(params_list, Iterator):
        params_list = list(params_list)
    elif not is_list:
        kind = "mapping" if isinstance(params_list, Mapping) else "tree"
        raise TypeError(f"merge takes a list of networks, got a single {kind}.")
    if len(params_list) < 2:
        raise ValueError(f"merge takes at least two networks, got {len(params_list)}.")
    return list(params_list)


def _stack(networks: Sequence[Params]) -> Params:
    """Return whole networks on a leading axis; what differs in shape is the first's."""
    flat = [symmetry.flatten(params) for params in networks]
    stacked = {}
    for path, leaf in flat[0].items():
        leaves: list[Any] = [leaves.get(path) for leaves in flat]
        shapes = {np.shape(x) if symmetry.is_array(x) else None for x in leaves}
        if None not in shapes and len(shapes) == 1:
            is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
            known = not is_key and not alignment.is_traced(leaves)
            stacked[path] = np.stack(leaves) if known else jnp.stack(leaves)
    return symmetry.rebuild(networks[0], stacked)


def _build(spec, aligner, features_fn, loss_fn):
    """Return the compiled way from a tuple of networks to (merged, aligned, result)."""

    def program(key, networks, weights, data):
        params_batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
        fold = lambda params: symmetry.fold_phases(params, spec)  # noqa: E731
        folded = jax.vmap(fold)(_align.widen(params_batch))
        problem = alignment.ManyProblem(
            params_batch=folded,
            weights=weights,
            data=data,
            spec=spec,
            features_fn=features_fn,
            loss_fn=loss_fn,
        )
        result = aligner(key, problem)
        act = lambda element, params: symmetry.act(element, params, spec)  # noqa: E731
        aligned = jax.vmap(act)(result.elements, folded)
        merged = merging.average(aligned, weights)
        narrow = lambda x, y: x.astype(y.dtype)  # noqa: E731
        return (
            jax.tree.map(narrow, merged, params_batch),
            jax.tree.map(narrow, aligned, params_batch),
            result,
        )

    return jax.jit(program)
