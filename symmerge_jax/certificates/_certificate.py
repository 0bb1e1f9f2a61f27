"""Proof that moving a network did not change its function.

A wrong spec gives a wrong network without any warning: public tools permuted classes,
mixed the heads of attention layers and left a normalisation behind. Here outputs are
compared in double precision, neuron by neuron, against what rounding alone does to them
(`_noise`); and a comparison that could not have failed is not a proof.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.certificates import _generic, _network, _noise, _probe, _verdict
from symmerge_jax.typing import Key, Params


def certify(
    params: Params,
    element: symmetry.GroupElement,
    network: Any,
    *,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    fold: bool = False,
    key: Key | None = None,
    tolerance: float | None = None,
) -> _verdict.Certificate:
    """Compare a network with itself moved by a group element, in float64.

    Args:
      params: parameters of one network, or of a batch with leading axes `*N`.
      element: monomials with the same leading axes.
      network: a `networks.Network`; or a `SymmetrySpec` that the element belongs to,
        beside `apply`.
      apply: `apply(params, inputs) -> outputs`, a pure function of JAX; that of the
        network where this is None.
      inputs: inputs of `apply`; floats are taken in double precision. Random ones of
        the same shapes and ranges are tried as well. None for random ones alone.
      input_shape: shape of the random inputs, all axes; None for that of the network,
        of a spec for `[16, I]` with the number `I` of neurons of the first space.
      fold: fold the phases of sine neurons before the element acts, as `merge` does.
      key: of the random inputs; None for `jax.random.key(0)`.
      tolerance: what a difference may be, relative to each output; None for a multiple
        of what rounding does to it, which is measured.

    Returns:
      The certificate. That it has not passed is a value; `require` makes it an error.

    Raises:
      TypeError: an `apply` that is not pure, or traced arrays.
      ValueError: parameters that do not fit the spec, or inputs that `apply` does not
        take.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 3, 1), "relu")
      >>> params = network.init(jax.random.key(0))
      >>> scale = np.array([1.0, 2.0, 0.5])
      >>> twin = {"hidden_0": symmetry.Monomial(np.array([2, 0, 1]), scale)}
      >>> bool(certify(params, twin, network).passed)
      True
      >>> flip = {"hidden_0": symmetry.Monomial(np.arange(3), -scale)}
      >>> bool(certify(params, flip, network).passed)  # no symmetry of ReLU
      False
    """
    _network.refuse_traced(params, element, inputs)
    spec = symmetry.spec_of(network)
    with _probe.double_precision():
        double = _network.as_double(params)
        elements = {
            name: symmetry.Monomial(np.asarray(perm), np.asarray(scale, np.float64))
            for name, (perm, scale) in element.items()
        }
        leaves = _network.moved_leaves(double, spec)
        num_batch_axes = len(spec.batch_shape(params))
        static = spec, fold, num_batch_axes
        move = programs.remembered(functools.partial(_mover, *static), *static)
        moved = symmetry.rebuild(double, move(elements, leaves))
    tried = _network.read(network, apply, inputs, input_shape)
    return _compare(double, moved, tried, key, tolerance, params)


def compare_functions(
    params_a: Params,
    params_b: Params,
    network: Any,
    *,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    key: Key | None = None,
    tolerance: float | None = None,
) -> _verdict.Certificate:
    """Compare the outputs of two networks, or of pairs of networks, in float64.

    Args:
      params_a: parameters of one network or a batch; its outputs give the scale.
      params_b: parameters of as many networks, as they are to be used: what was lost
        where they were rounded to their type counts as noise, overflow does not pass.
      network: see `certify`; its spec tells batch axes from others.
      apply: see `certify`.
      inputs: see `certify`.
      input_shape: see `certify`.
      key: see `certify`.
      tolerance: see `certify`.

    Returns:
      The certificate, one number per pair.

    Raises:
      TypeError, ValueError: as `certify`.
    """
    _network.refuse_traced(params_a, params_b, inputs)
    tried = _network.read(network, apply, inputs, input_shape)
    return _compare(params_a, params_b, tried, key, tolerance, params_a)


def _compare(
    params_a: Params,
    params_b: Params,
    tried: _network.Network,
    key: Key | None,
    tolerance: float | None,
    own: Params,
) -> _verdict.Certificate:
    """Return the certificate; the network is traced in the types of `own`, if it must.

    Those of `params_b` limit what can be expected of rounding.
    """
    spec = tried.spec
    batch_shape = spec.batch_shape(params_a)
    random = _generic.generator(key)
    stored = _stored_types(params_a, params_b, spec)
    with _probe.double_precision():
        one = _network.first(_network.as_double(params_a), spec)
        pairs = [
            {
                path: leaf.reshape(-1, *leaf.shape[len(batch_shape) :])
                for path, leaf in sorted(
                    _network.moved_leaves(_network.as_double(params), spec).items()
                )
            }
            for params in (params_a, params_b)
        ]
        groups = _network.make_inputs(random, tried, one)
        probe = _probe.probe(tried, one, groups[0][1], own)
        floats = {path: pairs[0][path] for path in stored}
        # One noise for all networks, positive only where all are.
        signs = {path: np.asarray(leaf.min(axis=0)) for path, leaf in floats.items()}
        noise = _generic.noise(random, signs, _noise.NUM_NOISE)
        spaces = [s.name for s in spec.movable_spaces]
        selected, changes = _variants(probe, spec, spaces, floats, stored)
        program = programs.remembered(
            functools.partial(_comparer, probe.call),
            calls={
                "apply": (
                    probe.call,
                    (symmetry.rows(pairs[0], 0), groups[0][1]),
                )
            },
        )
        found = []
        for number, (where, values) in enumerate(groups):
            difference, scale = program(*pairs, noise, selected, changes, values)
            verdict = _verdict.judge(
                np.asarray(difference), np.asarray(scale), probe, tolerance
            )
            finite = np.isfinite(verdict.scale).all(axis=-1)
            where += probe.precision
            found.append((where, verdict, finite if number else np.ones_like(finite)))
            reached = np.any([v.reached for _, v, _ in found], axis=0)
            if tried.inputs is None and reached.all():
                break
    certificate = _verdict.collect(found, probe, spaces)
    return jax.tree.map(lambda field: field.reshape(batch_shape), certificate)


def _stored_types(params_a, params_b, spec) -> dict[Any, Any]:
    """Return the types that limit what the leaves of b can be, float64 if nothing does.

    Permutations and signs are exact in any type; scales and the folding of phases are
    not.
    """
    before, after = symmetry.flatten(params_a), symmetry.flatten(params_b)
    scaled, phases = _probe.rounded_leaves(spec)
    stored = {}
    for path, leaf in sorted(after.items()):
        if not symmetry.is_parameter(leaf):
            continue
        stored[path] = leaf.dtype if path in scaled | phases else np.dtype(np.float64)
        if path in phases - scaled:
            old, new = (np.sort(np.abs(x[path]), axis=-1) for x in (before, after))
            if np.array_equal(old, new):
                stored[path] = np.dtype(np.float64)
    return stored


def _variants(probe, spec, spaces, floats, stored):
    """Return which of the two networks is run, and how its weights are changed."""
    sizes = np.array([_generic.size(leaf) for leaf in floats.values()])
    still = 0, np.zeros(len(sizes)), np.zeros(len(sizes))
    users = [{path for path, _, _ in spec.uses(name, 1, -1, 0)} for name in spaces] or [
        set(floats)
    ]
    changes = [
        still,
        still,
        *_noise.floor(probe.eps, stored),
        *(_noise.large(sizes, np.array([p in own for p in floats])) for own in users),
    ]
    selected = np.arange(len(changes)) == 1
    return selected, tuple(np.stack(parts) for parts in zip(*changes, strict=True))


def _comparer(call: Callable[..., Any]):
    """Return the program that compares pairs `[N]` of networks."""

    def program(befores, afters, noise, selected, changes, inputs):
        def pair(networks):
            def variant(item):
                is_after, change = item
                leaves = jax.tree.map(lambda x, y: jnp.where(is_after, y, x), *networks)
                return _noise.apply_changed(call, leaves, noise, change, inputs)

            outputs = jax.lax.map(variant, (selected, changes))
            before, others = (symmetry.rows(outputs, i) for i in (0, slice(1, None)))
            scale = _probe.differences(before, before)[1]
            changed = jax.vmap(lambda y: _probe.differences(y, before)[0])(others)
            return changed, scale

        return jax.lax.map(pair, (befores, afters))

    return jax.jit(program)


def _mover(spec: symmetry.SymmetrySpec, fold: bool, num_batch_axes: int):
    """Return the program that moves networks."""

    def program(element, leaves):
        params = symmetry.unflatten(leaves)
        folded = symmetry.fold_phases(params, spec) if fold else params
        return symmetry.flatten(symmetry.act(element, folded, spec))

    return programs.batched(program, num_batch_axes)
