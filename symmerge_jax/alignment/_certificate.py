"""Proof that moving a network did not change its function.

A wrong spec gives a wrong network without any warning: public tools permuted classes,
mixed the heads of attention layers and left a normalisation behind. Here outputs are
compared in double precision, where a true symmetry holds to 1e-12 or better whatever
the type of the weights, and a false one is off by many orders of magnitude.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Key, Params

TOLERANCE = 1e-8
"""Largest difference of outputs, relative to the largest output, that passes."""

_NUM_INPUTS = 64


class Certificate(NamedTuple):
    """How far two networks, or `N` pairs of networks, differ as functions.

    Attributes:
      max_difference: `[*N]` float64, largest absolute difference of an output; infinite
        if an output is not finite.
      output_scale: `[*N]` float64, largest absolute output, for comparison.
      tolerance: what `max_difference / output_scale` may be.
    """

    max_difference: np.ndarray
    output_scale: np.ndarray
    tolerance: float

    @property
    def passed(self) -> np.ndarray:
        """`[*N]` boolean: the functions are equal up to the tolerance."""
        small = self.max_difference <= self.tolerance * self.output_scale
        return np.asarray(small & np.isfinite(self.max_difference))

    def require(self, what: str) -> None:
        """Refuse a transformation that has changed a function.

        Args:
          what: what was transformed, the subject of the error.

        Raises:
          ValueError: the first pair that has not passed, its difference and the
            tolerance.
        """
        failed = np.flatnonzero(~self.passed)
        if not failed.size:
            return
        difference = np.ravel(self.max_difference)[failed[0]]
        scale = np.ravel(self.output_scale)[failed[0]]
        which = f" (number {failed[0]})" if np.size(self.passed) > 1 else ""
        raise ValueError(
            f"{what}{which} changed as a function: outputs differ by {difference:.3g},"
            f" where they reach {scale:.3g} (allowed {self.tolerance * scale:.3g})."
            " Either the spec does not fit the network, or `apply` computes in low"
            " precision, which needs a larger tolerance."
        )


def certify(
    apply: Callable[[Params, Any], Any],
    params: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    *,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    fold: bool = False,
    key: Key | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Compare a network with itself moved by a group element, in float64.

    Args:
      apply: `apply(params, inputs) -> outputs`, a pure function of JAX, hashable.
      params: parameters of one network, or of a batch with leading axes `*N`.
      element: monomials with the same leading axes.
      spec: symmetry that the element belongs to.
      inputs: inputs of `apply`; floats are taken in double precision. None for 64
        random ones, uniform in [-1, 1].
      input_shape: shape of the random inputs, all axes; None for `[64, I]` with the
        number `I` of neurons of the first space.
      fold: fold the phases of sine neurons before the element acts, as `merge` does.
      key: of the random inputs; None for `jax.random.key(0)`.
      tolerance: relative; larger only if `apply` itself computes in lower precision.

    Returns:
      The certificate. That it has not passed is a value; `require` makes it an error.

    Raises:
      ValueError: parameters that do not fit the spec, or inputs that `apply` does not
        take.
    """
    with jax.enable_x64(True):
        double = as_double(params)
        elements = {
            name: symmetry.Monomial(np.asarray(perm), np.asarray(scale, np.float64))
            for name, (perm, scale) in element.items()
        }
        moved = _mover(spec, fold, len(spec.batch_shape(params)))(elements, double)
    return compare(
        apply,
        double,
        moved,
        spec,
        inputs=inputs,
        input_shape=input_shape,
        key=key,
        tolerance=tolerance,
    )


def compare(
    apply: Callable[[Params, Any], Any],
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    *,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    key: Key | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Compare the outputs of two networks, or of pairs of networks, in float64.

    Args:
      apply: see `certify`.
      params_a: parameters of one network or a batch; its outputs give the scale.
      params_b: parameters of as many networks.
      spec: their symmetry, which tells batch axes from others.
      inputs: see `certify`.
      input_shape: see `certify`.
      key: see `certify`.
      tolerance: see `certify`.

    Returns:
      The certificate, one number per pair.

    Raises:
      ValueError: as `certify`.
    """
    batch_shape = spec.batch_shape(params_a)
    with jax.enable_x64(True):
        pairs = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[len(batch_shape) :]),
            (as_double(params_a), as_double(params_b)),
        )
        one = jax.tree.map(lambda x: x[0], pairs[0])
        inputs = make_inputs(apply, one, spec, inputs, input_shape, key)
        difference, scale = _compiled(apply)(pairs, inputs)
        return Certificate(
            max_difference=np.asarray(difference).reshape(batch_shape),
            output_scale=np.asarray(scale).reshape(batch_shape),
            tolerance=tolerance,
        )


def as_double(params: Params) -> dict[str, Any]:
    """Return parameters as float64 arrays of numpy, in nested dicts."""
    leaves = symmetry.flatten(params)
    return symmetry.unflatten(
        {path: np.asarray(leaf, np.float64) for path, leaf in leaves.items()}
    )


def make_inputs(apply, params, spec, inputs, input_shape, key):
    """Return the inputs in double precision, checked to be taken by `apply`."""
    if inputs is not None and input_shape is not None:
        raise ValueError("Pass inputs or input_shape, not both.")
    if inputs is None:
        first = spec.spaces[0].name
        shape = input_shape or (_NUM_INPUTS, spec.sizes(params)[first])
        inputs = generator(key).uniform(-1, 1, tuple(shape))
    inputs = jax.tree.map(_widen, inputs)
    try:
        jax.eval_shape(apply, params, inputs)
    except (TypeError, ValueError) as error:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(inputs)]
        raise ValueError(
            f"apply(params, inputs) does not take inputs of shape {shapes} ({error}):"
            " pass inputs= or input_shape=."
        ) from error
    return inputs


def generator(key: Key | None) -> np.random.Generator:
    """Return a source of random numbers that has nothing to compile."""
    key = jax.random.key(0) if key is None else key
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def _widen(leaf) -> np.ndarray:
    array = np.asarray(leaf)
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def output_difference(apply, params_a, params_b, inputs) -> tuple[Array, Array]:
    """Return the largest difference of outputs, and the largest output, `[]` each."""
    outputs_a, outputs_b = apply(params_a, inputs), apply(params_b, inputs)
    differences = jax.tree.map(lambda a, b: _largest(a - b), outputs_a, outputs_b)
    scales = jax.tree.map(_largest, outputs_a)
    difference, scale = (
        jnp.stack(jax.tree.leaves(tree)).max() for tree in (differences, scales)
    )
    return difference, scale


def _largest(values: Array) -> Array:
    size = jnp.abs(values).astype(float)
    return jnp.where(jnp.isfinite(size), size, jnp.inf).max(initial=0)


# One compiled program per architecture, because verbs certify again and again.
@functools.lru_cache(maxsize=16)
def _compiled(apply):
    def program(pairs, inputs):
        def one(pair):
            params_a, params_b = pair
            return output_difference(apply, params_a, params_b, inputs)

        return jax.lax.map(one, pairs)

    return jax.jit(program)


@functools.lru_cache(maxsize=16)
def _mover(spec, fold: bool, num_batch_axes: int):
    def program(element, params):
        folded = symmetry.fold_phases(params, spec) if fold else params
        return symmetry.act(element, folded, spec)

    for _ in range(num_batch_axes):
        program = jax.vmap(program)
    return jax.jit(program)
