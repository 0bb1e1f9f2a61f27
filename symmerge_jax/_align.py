"""The verb that moves one network onto another, without changing its function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from symmerge_jax import _verbs, alignment, certificates, programs, symmetry
from symmerge_jax.typing import Key, Params, Task

_WEIGHT_MATCHING = alignment.WeightMatching()


class Alignment(NamedTuple):
    """A network moved onto another one, or `N` pairs of them.

    Attributes:
      params: `params_b` moved onto `params_a`: the same function as before.
      result: what the solver returns, with leading axes `*N` on every array; the group
        element is `result.element`, the history of the objective `result.objective`.
      certificate: difference of the function before and after, in float64; None where
        only a spec was given.
    """

    params: Params
    result: alignment.AlignmentResult
    certificate: certificates.Certificate | None


def align(
    params_a: Params,
    params_b: Params,
    network: _verbs.Architecture,
    *,
    task: Task | None = None,
    aligner: alignment.Aligner = _WEIGHT_MATCHING,
    key: Key | None = None,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Alignment:
    """Move `params_b` onto `params_a` along its orbit: its function does not change.

    This is proven and not assumed: before any work the spec is checked against the
    network (`certificates.check_spec`), and what is returned is compared with
    `params_b` as a function, in float64 (`certificates.compare_functions`).

    Networks are any pytrees. Leaves that are not real floating-point arrays (counters,
    random keys, functions, None) are carried along: those of `params_b` come back, and
    functions are called with those of `params_a`. Statistics (`spec.statistics`) move
    with their neurons, but are not matched unless `spec.statistics_weight` says so.

    Phases of sine networks are no part of the group: fold them before
    (`symmetry.fold_phases`) if the networks were trained independently.

    Args:
      params_a: parameters of the network that stays, or of a batch of networks with
        leading axes `*N`.
      params_b: parameters of as many networks that move.
      network: the architecture. A `SymmetrySpec` does as well, but proves nothing
        without `apply`; pass one under `jax.jit`, where nothing can be proven.
      task: data and functions for solvers that look at them, the same for all pairs.
      aligner: the solver; by default weight matching, free of data.
      key: random key of the solver; None for `jax.random.key(0)`. Pairs of a batch get
        keys of their own.
      apply: `apply(params, inputs) -> outputs`, beside a spec.
      inputs: inputs for the certificate, beside random ones.
      tolerance: of the certificate, relative to each output; None to measure it.

    Returns:
      The moved network, what the solver found, and the certificate. Calls with an equal
      aligner and functions that compute the same are compiled once.

    Raises:
      TypeError: an aligner that is not a solver, a parameter that is not an array, a
        function that is not pure JAX, or a certificate under `jax.jit`.
      ValueError: networks of different trees, shapes or types (paths are named), with
        NaN, or that do not fit the spec; options without effect; a spec that is not the
        symmetry of the network (names the space); a solver that found no element (NaN
        in the data); a result that the type of the parameters cannot hold.

    Example:
      >>> import numpy as np
      >>> from symmerge_jax import networks
      >>> network = networks.siren((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> flip = {"hidden_0": symmetry.Monomial(np.arange(8)[::-1], -np.ones(8))}
      >>> twin = symmetry.act(flip, params, network.spec)
      >>> found = align(params, twin, network)
      >>> bool((found.params["dense_0"]["kernel"] == params["dense_0"]["kernel"]).all())
      True
      >>> found.result.element["hidden_0"].perm.tolist()
      [7, 6, 5, 4, 3, 2, 1, 0]
      >>> bool(found.certificate.passed)
      True
    """
    spec = symmetry.spec_of(network)
    _verbs.check_aligner(aligner, key, network)
    if isinstance(aligner, alignment.ManyAligner):
        raise TypeError(
            f"{type(aligner).__name__} brings many networks together: pass it to merge,"
            " or its aligner to align."
        )
    task = _verbs.read_task(task, network)
    proof = _verbs.prepare_proof("align", network, apply, inputs, tolerance)
    opened = symmetry.open_networks({"params_a": params_a, "params_b": params_b}, spec)
    before = opened.given[1]
    batch_shape = opened.batch_shape
    proof.check(*opened.given)
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, batch_shape) if batch_shape else key
    program = _verbs.program_of(_build, opened, task, aligner, len(batch_shape))
    arguments = keys, *opened.params, task.data
    on_host = _verbs.on_host(aligner, opened)
    result = programs.call(program, opened.params[1], *arguments, on_host=on_host)
    finished = not symmetry.is_traced((opened.params, result))
    if finished:
        _verbs.check_found(aligner, result.element, opened, proof)
    params = _verbs.moved(result.element, before, spec, len(batch_shape))
    if finished:
        _verbs.check_representable("params_b, when aligned,", params)
    certificate = proof.certify("params_b, when aligned,", before, params)
    return Alignment(params, result, certificate)


def _build(spec, aligner, make_task: Callable[[Any], Task], num_batch_axes: int):
    """Return the compiled solver for networks with this many leading axes."""

    def solve(key, params_a, params_b, data):
        problem = alignment.AlignmentProblem(
            params_a=_verbs.widen(params_a),
            params_b=_verbs.widen(params_b),
            task=make_task(data),
            spec=spec,
        )
        return aligner(key, problem)

    return programs.batched(solve, num_batch_axes, (0, 0, 0, None))
