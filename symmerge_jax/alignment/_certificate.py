"""Proof that moving a network did not change its function.

A wrong spec gives a wrong network without any warning: public tools permuted classes,
mixed the heads of attention layers and left a normalisation behind. Here outputs are
compared in double precision, neuron by neuron, against what rounding alone does to them
(`_noise`); and a comparison that could not have failed is no proof.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _generic, _noise, _probe, _programs
from symmerge_jax.typing import Key, Params


class Certificate(NamedTuple):
    """How far two networks, or `N` pairs of networks, differ as functions.

    All numbers are those of the worst output neuron: the one whose difference is the
    largest in units of what it may be.

    Attributes:
      max_difference: `[*N]` float64, largest absolute difference of that output;
        infinite if one of the two is not finite.
      output_scale: `[*N]` float64, its largest absolute value, for comparison.
      tolerance: `[*N]` what `max_difference / output_scale` may be: a multiple of what
        rounding does to this output, or the tolerance that was asked for.
      where: `[*N]` strings, which output neuron it is, and at which inputs.
      not_tested: `[*N]` strings, why a comparison that succeeded would be no proof;
        empty where it is one.
    """

    max_difference: np.ndarray
    output_scale: np.ndarray
    tolerance: np.ndarray
    where: np.ndarray
    not_tested: np.ndarray

    @property
    def passed(self) -> np.ndarray:
        """`[*N]` boolean: the functions are equal up to the tolerance."""
        return np.asarray(self._are_equal() & (np.asarray(self.not_tested) == ""))

    def require(self, what: str) -> None:
        """Refuse a transformation that has changed a function, or may have.

        Args:
          what: what was transformed, the subject of the error.

        Raises:
          ValueError: the first pair that has not passed, its difference and the
            tolerance, or why nothing was tested.
        """
        failed = np.flatnonzero(~self.passed)
        if not failed.size:
            return
        difference, scale, tolerance, where, reason, equal = (
            np.ravel(field)[failed[0]] for field in (*self, self._are_equal())
        )
        which = f" (number {failed[0]})" if np.size(self.passed) > 1 else ""
        if equal:
            raise ValueError(f"{what}{which} was not tested: {reason}.")
        if not np.isfinite(difference):
            raise ValueError(
                f"{what}{which} changed as a function: {where} is not finite. Look for"
                " overflow in the parameters: scales may leave the range of float16."
            )
        raise ValueError(
            f"{what}{which} changed as a function: outputs differ by {difference:.3g},"
            f" where they reach {scale:.3g} (allowed {tolerance * scale:.3g}), at"
            f" {where}. Either the spec does not fit the network, or its numbers are"
            " too imprecise for their size."
        )

    def _are_equal(self) -> np.ndarray:
        finite = np.isfinite(self.max_difference) & np.isfinite(self.output_scale)
        scale = np.where(finite, self.output_scale, 0)
        allowed = np.asarray(self.tolerance) * scale * (1 + 1e-9)
        return np.asarray(finite & (self.max_difference <= allowed))


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
    tolerance: float | None = None,
) -> Certificate:
    """Compare a network with itself moved by a group element, in float64.

    Args:
      apply: `apply(params, inputs) -> outputs`, a pure function of JAX.
      params: parameters of one network, or of a batch with leading axes `*N`.
      element: monomials with the same leading axes.
      spec: symmetry that the element belongs to.
      inputs: inputs of `apply`; floats are taken in double precision. Random ones of
        the same shapes and ranges are tried as well. None for random ones alone.
      input_shape: shape of the random inputs, all axes; None for `[16, I]` with the
        number `I` of neurons of the first space.
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
    """
    _probe.refuse_traced(params, element, inputs)
    with jax.enable_x64(True):
        double = _probe.as_double(params)
        elements = {
            name: symmetry.Monomial(np.asarray(perm), np.asarray(scale, np.float64))
            for name, (perm, scale) in element.items()
        }
        leaves = _probe.moved_leaves(double, spec)
        num_batch_axes = len(spec.batch_shape(params))
        move = _programs.remembered(
            _mover(spec, fold, num_batch_axes), spec, fold, num_batch_axes
        )
        moved = symmetry.rebuild(double, move(elements, leaves))
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
    tolerance: float | None = None,
) -> Certificate:
    """Compare the outputs of two networks, or of pairs of networks, in float64.

    Args:
      apply: see `certify`.
      params_a: parameters of one network or a batch; its outputs give the scale.
      params_b: parameters of as many networks, as they are to be used: what was lost
        where they were rounded to their type counts as noise, overflow does not pass.
      spec: their symmetry, which tells batch axes from others.
      inputs: see `certify`.
      input_shape: see `certify`.
      key: see `certify`.
      tolerance: see `certify`.

    Returns:
      The certificate, one number per pair.

    Raises:
      TypeError, ValueError: as `certify`.
    """
    _probe.refuse_traced(params_a, params_b, inputs)
    batch_shape = spec.batch_shape(params_a)
    random = _generic.generator(key)
    stored = {
        path: leaf.dtype
        for path, leaf in sorted(symmetry.flatten(params_b).items())
        if symmetry.is_parameter(leaf)
    }
    with jax.enable_x64(True):
        one = _probe.first(_probe.as_double(params_a), spec)
        pairs = [
            {
                path: leaf.reshape(-1, *leaf.shape[len(batch_shape) :])
                for path, leaf in sorted(
                    _probe.moved_leaves(_probe.as_double(params), spec).items()
                )
            }
            for params in (params_a, params_b)
        ]
        groups = _probe.make_inputs(random, one, spec, inputs, input_shape)
        probe = _probe.probe(apply, one, spec, groups[0][1])
        floats = {path: pairs[0][path] for path in stored}
        noise = {path: leaf[0] for path, leaf in _generic.noise(random, floats).items()}
        spaces = [s.name for s in _base.movable_spaces(spec)]
        selected, changes = _variants(probe, spec, spaces, floats, stored)
        program = _programs.remembered(
            _comparer(probe.call),
            calls={
                "apply": (
                    probe.call,
                    ({p: x[0] for p, x in pairs[0].items()}, groups[0][1]),
                )
            },
        )
        found = []
        for number, (where, values) in enumerate(groups):
            difference, scale = program(*pairs, noise, selected, changes, values)
            verdict = _judge(
                np.asarray(difference), np.asarray(scale), probe, tolerance
            )
            finite = np.isfinite(verdict.scale).all(axis=-1)
            found.append((where, verdict, finite if number else np.ones_like(finite)))
            reached = np.any([v.reached for _, v, _ in found], axis=0)
            if inputs is None and reached.all():
                break
    certificate = _collect(found, probe, spaces)
    return jax.tree.map(lambda field: field.reshape(batch_shape), certificate)


class _Verdict(NamedTuple):
    """What one group of inputs shows: of `N` pairs, `n` outputs, `k` spaces."""

    difference: np.ndarray  # [N, n]
    scale: np.ndarray  # [N, n]
    allowed: np.ndarray  # [N, n]
    smooth: np.ndarray  # [N, n]
    effect: np.ndarray  # [N, k]
    reached: np.ndarray  # [N, k]


def _variants(probe, spec, spaces, floats, stored):
    """Return which of the two networks is run, and how its weights are changed."""
    sizes = np.array([_generic.size(leaf) for leaf in floats.values()])
    still = 0, np.zeros(len(sizes)), np.zeros(len(sizes))
    users = [
        {p for p, axes in spec.axes if any(a and a.space == name for a in axes)}
        for name in spaces
    ] or [set(floats)]
    changes = [
        still,
        still,
        *(_noise.rounding(probe.eps, stored, k) for k in range(_noise.NUM_NOISE)),
        *(_noise.small(probe.eps, len(sizes), k) for k in range(_noise.NUM_SMALL)),
        *(_noise.large(sizes, np.array([p in own for p in floats])) for own in users),
    ]
    selected = np.arange(len(changes)) == 1
    return selected, tuple(np.stack(parts) for parts in zip(*changes, strict=True))


def _judge(differences, scale, probe, tolerance) -> _Verdict:
    """Say what the variants `[N, V, n]` mean."""
    noise, few = _noise.NUM_NOISE, _noise.NUM_SMALL
    parts = np.split(differences, np.cumsum([1, noise, few]), axis=1)
    allowed = _noise.tolerances(parts[1].max(axis=1), scale, probe.owners, tolerance)
    smooth = _noise.follows(parts[2].swapaxes(0, 1), scale) & probe.smooth
    effect = _noise.effect(parts[3], allowed[:, None], smooth[:, None])
    alive = np.isfinite(scale).all(-1) & (scale > 0).any(-1)
    reached = (effect >= _noise.POWER) & alive[:, None]
    return _Verdict(parts[0][:, 0], scale, allowed, smooth, effect, reached)


def _collect(found, probe: _probe.Probe, spaces: Sequence[str]) -> Certificate:
    """Return the worst of all groups of inputs, by pair."""
    rows = []
    for pair in range(len(found[0][2])):
        worst = None
        for where, verdict, counts in found:
            if not counts[pair]:
                continue
            difference, scale = verdict.difference[pair], verdict.scale[pair]
            allowed = verdict.allowed[pair]
            lost = ~np.isfinite(difference) | ~np.isfinite(scale)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(difference > 0, difference / allowed, 0)
            share = np.where(lost, np.inf, share)
            # Of outputs that do not differ at all the largest is shown.
            index = max(range(len(share)), key=lambda i: (share[i], scale[i]))
            rank = share[index], scale[index]
            if worst is None or rank > worst[0]:
                usual = 0 < scale[index] < np.inf
                relative = allowed[index] / scale[index] if usual else 0.0
                gap = np.inf if lost[index] else difference[index]
                name = f"{probe.names[index]} for {where}"
                worst = rank, (gap, scale[index], relative, name)
        assert worst is not None
        rows.append((*worst[1], _reason(found, pair, spaces)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Certificate(*columns)


def _reason(found, pair: int, spaces: Sequence[str]) -> str:
    """Return why the equality of a pair would be no proof, or nothing."""
    reached = np.any([verdict.reached[pair] for _, verdict, _ in found], axis=0)
    if reached.all():
        return ""
    names = " and ".join(where for where, _, _ in found)
    if not any((verdict.scale[pair] > 0).any() for _, verdict, _ in found):
        return (
            f"all outputs are zero for {names}: pass inputs= as the network gets them"
        )
    if not any(verdict.smooth[pair].any() for _, verdict, _ in found):
        return _noise.NOT_SMOOTH
    index = int(np.flatnonzero(~reached)[0])
    effect = max(verdict.effect[pair, index] for _, verdict, _ in found)
    space = f"space '{spaces[index]}'" if spaces else "the parameters"
    if effect > _noise.VISIBLE:
        return (
            f"rounding changes outputs as much as a mistake in {space} would ({names}):"
            " keep the parameters, or compute, in a more precise type"
        )
    return (
        f"inputs do not reach {space} ({names}), which no output depends on there: pass"
        " inputs= as the network gets them"
    )


def _comparer(call: Callable[..., Any]):
    """Return how to make the program that compares pairs `[N]` of networks."""

    def build():
        def program(befores, afters, noise, selected, changes, inputs):
            def pair(networks):
                def variant(item):
                    is_after, change = item
                    leaves = jax.tree.map(
                        lambda x, y: jnp.where(is_after, y, x), *networks
                    )
                    return _noise.apply_changed(call, leaves, noise, change, inputs)

                outputs = jax.lax.map(variant, (selected, changes))
                before = jax.tree.map(lambda x: x[0], outputs)
                others = jax.tree.map(lambda x: x[1:], outputs)
                measure = lambda y: _probe.differences(y, before)[0]  # noqa: E731
                scale = _probe.differences(before, before)[1]
                return jax.vmap(measure)(others), scale

            return jax.lax.map(pair, (befores, afters))

        return jax.jit(program)

    return build


def _mover(spec, fold: bool, num_batch_axes: int):
    """Return how to make the program that moves networks."""

    def build():
        def program(element, leaves):
            params = symmetry.unflatten(leaves)
            folded = symmetry.fold_phases(params, spec) if fold else params
            return symmetry.flatten(symmetry.act(element, folded, spec))

        for _ in range(num_batch_axes):
            program = jax.vmap(program)
        return jax.jit(program)

    return build
