"""The verb that makes one network of several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import (
    _verbs,
    alignment,
    certificates,
    merging,
    programs,
    symmetry,
)
from symmerge_jax.typing import Array, Key, Params, Task

_MERGE_MANY = alignment.MergeMany()


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
        where only a spec was given.
      repair: what was done to the mean, if anything was (`merging.Repair`).
    """

    params: Params
    aligned: Params
    result: alignment.ManyResult
    certificate: certificates.Certificate | None
    repair: merging.Repair | None = None


def merge(
    params_batch: Any,
    network: _verbs.Architecture,
    *,
    task: Task | None = None,
    aligner: alignment.Aligner | alignment.ManyAligner = _MERGE_MANY,
    repair: Sequence[str] = (),
    weights: Sequence[float] | Array | None = None,
    layer_weights: Mapping[str, Sequence[float | int]] | None = None,
    key: Key | None = None,
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

    As in `align`, the network proves that its spec fits and that every network in the
    common frame has the function that it had. Networks are any pytrees; the tree of the
    first comes back. What is not a parameter (counters, random keys, functions, None)
    is neither averaged nor rounded: the merged network has what the first one has.

    Args:
      params_batch: at least two networks: a list of their parameters, or their
        parameters on one leading axis `[N]`.
      network: see `align`.
      task: see `align`.
      aligner: `alignment.MergeMany` or `alignment.Universe`, which bring any number of
        networks together; or a solver for pairs, to be used by `MergeMany`. A learned
        solver compares networks, not their means: use it as `MergeMany(init=learned)`.
      repair: what is done to the mean: names of `merging.REPAIRS`, such as
        "statistics" (of BatchNorm) or "least_squares". They look at the inputs in the
        data of the task; without, closed forms are used where there are any.
      weights: one per network, above zero, sum 1; None for equal ones.
      layer_weights: other weights of the mean for some layers, zero or above, by the
        start of the names of their parameters: {"layers/0": (1, 0)} keeps the first
        one of the first network. Solvers and repairs go by `weights`.
      key: random key of the solver; None for `jax.random.key(0)`.
      apply: see `align`.
      inputs: see `align`.
      tolerance: see `align`.

    Returns:
      The merged network, the aligned ones, what the solver found, and the certificate.

    Raises:
      TypeError: what `align` refuses.
      ValueError: a single network, or a list with fewer than two; batches of networks;
        weights that do not sum to 1; and what `align` refuses, with the number of the
        network.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> reverse = {"hidden_0": symmetry.Monomial(np.arange(8)[::-1], np.full(8, 3.0))}
      >>> twin = symmetry.act(reverse, params, network.spec)
      >>> found = merge([params, twin], network)
      >>> x = np.ones((1, 2))
      >>> y, z = network.apply(found.params, x), network.apply(params, x)
      >>> bool(abs(y - z).max() < 1e-5), bool(found.certificate.passed.all())
      (True, True)
    """
    spec = symmetry.spec_of(network)
    _verbs.check_aligner(aligner, key, network)
    if not isinstance(aligner, alignment.ManyAligner):
        aligner = alignment.MergeMany(aligner=aligner)
    task = _verbs.read_task(task, network)
    if repair:
        merging.check_repairs(repair)
        _verbs.check_can_repair(params_batch, network)
        _verbs.inputs_of(task.data, network)
    proof = _verbs.prepare_proof("merge", network, apply, inputs, tolerance)
    given = _as_list(params_batch, spec)
    named = {f"network {number}": params for number, params in enumerate(given)}
    opened = symmetry.open_networks(named, spec)
    if opened.batch_shape:
        raise ValueError(
            "merge takes one network per entry of the list, but they have leading axes"
            f" {opened.batch_shape}: split them, or lift the solver with jax.vmap."
        )
    weights = merging.check_weights(weights, len(given))
    proof.check(*opened.given)
    double = any(x.dtype == np.float64 for x in jax.tree.leaves(opened.params))
    program = _verbs.program_of(_build, opened, task, aligner)
    merged, aligned, result = programs.call(
        program,
        opened.params[0],
        jax.random.key(0) if key is None else key,
        opened.params,
        weights.astype(np.float64 if double else np.float32),
        task.data,
        on_host=_verbs.on_host(aligner, opened),
    )
    finished = not symmetry.is_traced((opened.params, merged))
    if finished:
        _verbs.check_found(aligner, result.elements, opened, proof)
    stacked = _stack(opened.given)
    # Whole networks: what is carried along stands where it stood.
    merged = symmetry.rebuild(opened.given[0], symmetry.flatten(merged))
    carried = symmetry.move_carried(result.elements, stacked, spec, 1)
    aligned = symmetry.rebuild(carried, symmetry.flatten(aligned))
    if finished:
        _verbs.check_representable("The merged network", merged)
        _verbs.check_representable("A network, when aligned,", aligned)
    certificate = proof.certify("A network, when aligned,", stacked, aligned)
    if layer_weights:
        merged = merging.average_layers(merged, aligned, layer_weights)
    mended = None
    if repair:
        mended = _mend(repair, merged, aligned, network, task, weights)
        merged = mended.params
    return Merge(merged, aligned, result, certificate, mended)


def _mend(repair, merged, aligned, network, task: Task, weights) -> merging.Repair:
    inputs = _verbs.inputs_of(task.data, network)
    return merging.repair(
        merged, aligned, network, repair, inputs=inputs, weights=weights
    )


def _as_list(params_batch: Any, spec: symmetry.SymmetrySpec) -> list[Params]:
    """Return the networks as a list, and refuse what is a single one."""
    if isinstance(params_batch, Iterator):
        params_batch = list(params_batch)
    is_list = isinstance(params_batch, list | tuple) and not hasattr(
        params_batch, "_fields"
    )
    if is_list and not _fits(params_batch, spec):
        if len(params_batch) < 2:
            raise ValueError(
                f"merge takes at least two networks, got {len(params_batch)}."
            )
        return list(params_batch)
    symmetry.check_same_architecture({"params_batch": params_batch})
    batch_shape = spec.batch_shape(params_batch)
    if len(batch_shape) != 1 or batch_shape[0] < 2:
        raise ValueError(
            "merge takes a list of networks, or at least two networks on one leading"
            f" axis, got a single tree with leading axes {batch_shape}."
        )
    return [_row(params_batch, spec, number) for number in range(batch_shape[0])]


def _fits(params: Any, spec: symmetry.SymmetrySpec) -> bool:
    """Return whether a list is one tree of parameters, and no list of networks."""
    try:
        spec.batch_shape(params)
    except ValueError:
        return False
    return True


def _row(params_batch: Params, spec: symmetry.SymmetrySpec, number: int) -> Params:
    """Return one network of a batch; what is not a parameter is shared by all."""
    axes = dict(spec.axes)
    return symmetry.rebuild(
        params_batch,
        {
            path: leaf[number]
            for path, leaf in symmetry.flatten(params_batch).items()
            if symmetry.is_parameter(leaf) or any(axes.get(path, ()))
        },
    )


def _stack(networks: Sequence[Params]) -> Params:
    """Return whole networks on a leading axis; what differs in shape is the first's."""
    flat = [symmetry.flatten(params) for params in networks]
    stacked = {}
    for path, leaf in flat[0].items():
        leaves: list[Any] = [leaves.get(path) for leaves in flat]
        shapes = {np.shape(x) if symmetry.is_array(x) else None for x in leaves}
        if None not in shapes and len(shapes) == 1:
            is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
            known = not is_key and not symmetry.is_traced(leaves)
            stacked[path] = np.stack(leaves) if known else jnp.stack(leaves)
    return symmetry.rebuild(networks[0], stacked)


def _build(spec, aligner, make_task: Callable[[Any], Task]):
    """Return the compiled way from a tuple of networks to (merged, aligned, result)."""

    def solve(key, networks, weights, data):
        stack = programs.namespace(networks).stack
        params_batch = jax.tree.map(lambda *leaves: stack(leaves), *networks)
        folded = programs.each(
            lambda params: symmetry.fold_phases(params, spec),
            _verbs.widen(params_batch),
        )
        problem = alignment.ManyProblem(
            params_batch=folded, weights=weights, task=make_task(data), spec=spec
        )
        result = aligner(key, problem)
        aligned = symmetry.act_each(result.elements, folded, spec)
        merged = merging.average(aligned, weights)
        return (
            _verbs.narrow(merged, params_batch),
            _verbs.narrow(aligned, params_batch),
            result,
        )

    return jax.jit(solve)
