"""The verb that moves one network onto another, without changing its function."""

import functools
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
) -> Alignment:
    """Move `params_b` onto `params_a` along its orbit: its function does not change.

    With `apply`, this is proven and not assumed: before any work the spec is checked
    against the network (`alignment.check_spec`), and the element that was found is
    certified in float64 (`alignment.certify`).

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
      inputs: inputs for the certificate; None for random ones. Needs `apply`.

    Returns:
      The moved network, what the solver found, and the certificate. Calls with the
      same functions and an equal aligner are compiled once.

    Raises:
      TypeError: an aligner that is no solver, or a leaf that is no array.
      ValueError: networks of different trees, shapes or types (paths are named), with
        NaN, or that do not fit the spec; options without effect; a spec that is not the
        symmetry of the network (names the space).

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
    check_options(aligner, data, features_fn, loss_fn, apply, inputs)
    batch_shape = alignment.check_networks(
        {"params_a": params_a, "params_b": params_b}, spec
    )
    params_a, params_b = plain_dicts(params_a), plain_dicts(params_b)
    if apply is not None:
        alignment.check_spec(apply, params_a, spec, inputs=inputs)
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, batch_shape) if batch_shape else key
    program = remembered(
        _compiled, spec, aligner, features_fn, loss_fn, len(batch_shape)
    )
    params, result = call(program, params_b, keys, params_a, params_b, data)
    certificate = None
    if apply is not None:
        certificate = alignment.certify(
            apply, params_b, result.element, spec, inputs=inputs
        )
        certificate.require("params_b, when aligned,")
    return Alignment(params, result, certificate)


def check_options(aligner, data, features_fn, loss_fn, apply, inputs) -> None:
    """Refuse arguments that cannot work, or would have no effect."""
    if isinstance(aligner, type) or not callable(aligner):
        raise TypeError(
            "aligner must be a solver, as alignment.WeightMatching() is, or what"
            f" TrainedMatcher.aligner() returns, got {aligner!r}."
        )
    if data is not None and features_fn is None and loss_fn is None:
        raise ValueError("data is read by features_fn or loss_fn only: pass one.")
    if inputs is not None and apply is None:
        raise ValueError("inputs are for the certificate, which needs apply: pass it.")


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


def plain_dicts(params: Params) -> dict[str, Any]:
    """Return the same leaves in nested dicts, whatever mappings held them."""
    return symmetry.unflatten(symmetry.flatten(params))


def widen(params: Params) -> Params:
    """Return parameters in float32 where they were less precise."""
    return jax.tree.map(
        lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), params
    )


def remembered(build: Callable[..., Any], *arguments: Any) -> Any:
    """Call a cached function, past its cache where an argument has no hash.

    A solver that holds arrays has none; its programs are compiled at every call.
    """
    try:
        hash(arguments)
    except TypeError:
        return build.__wrapped__(*arguments)  # pyright: ignore
    return build(*arguments)


@functools.lru_cache(maxsize=32)
def _compiled(spec, aligner, features_fn, loss_fn, num_batch_axes: int):
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
        result = aligner(key, problem)
        return symmetry.act(result.element, params_b, spec), result

    for _ in range(num_batch_axes):
        program = jax.vmap(program, (0, 0, 0, None))
    return jax.jit(program)
