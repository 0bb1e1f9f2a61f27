"""Closed-form canonical form: one exact representative per orbit, without training.

Four steps, none of which changes the function of the network:

1. positive scales are balanced to the fixed point where every neuron's incoming weights
   (with its bias) and outgoing weights have equal norm, which is the least-norm member
   of the orbit and unique up to permutations;
2. phases of sine neurons are folded into [-pi/2, pi/2];
3. signs are fixed so that a neuron's largest incoming weight is positive;
4. neurons are sorted by the norm of their incoming weights, largest first.

Steps 3 and 4 run space by space from the inputs on, so that the weights a neuron reads
are already canonical when it is compared with others.
"""

import math

import jax.numpy as jnp
import numpy as np

from symmerge_jax.symmetry import (
    _action,
    _atoms,
    _axes,
    _balance,
    _element,
    _followers,
    _phases,
    _spec,
    _tree,
    _unfold,
)
from symmerge_jax.typing import Array, Params


def canonical_form(params: Params, spec: _spec.SymmetrySpec) -> Params:
    """Return the canonical twin of a network.

    Idempotent, function-preserving and constant on the orbit. Exact for permutations
    and signs (bit for bit); up to rounding for scales and phases.

    Ties: neurons with equal incoming weights are ordered by their sorted absolute
    outgoing weights, then by those that are kept (power 0); dead neurons (no incoming
    weights) come last, ordered by their outgoing weights. Not resolved: neurons equal
    in all, differing only in *which* later neurons they feed; neurons fed by dead ones
    only that nothing reads; the two signs of a sine neuron whose phase is exactly pi/2.
    Twins of such (hand-made) networks may differ.

    Args:
      params: parameters of one network; lift with `jax.vmap`.
      spec: symmetry of the architecture.
    """
    params = _phases.fold_phases(params, spec)
    return _action.act(canonical_element(params, spec), params, spec)


def canonical_element(
    params: Params, spec: _spec.SymmetrySpec
) -> _element.GroupElement:
    """Return the element that maps a network with folded phases to its canonical form.

    Args:
      params: parameters of one network; apply `fold_phases`, no group element, before.
      spec: symmetry of the architecture.
    """
    view = _atoms.atoms_of(spec, params)
    params, spec = view.view(params), view.spec
    element = _balance.balance_scales(params, spec)
    params = _action.act(element, params, spec)
    sizes = spec.sizes(params)

    def apply(step):
        return _action.act(step, params, spec), _element.compose(step, element, spec)

    params, element = apply(_followers.follower_signs(params, spec))
    # What is read from dead neurons, or from spaces that are not sorted yet (a residual
    # stream), says nothing about the neuron that reads it.
    movable = {s.name for s in spec.movable_spaces}
    alive: dict[str, Array] = {
        space.name: jnp.full(
            (*(sizes[name] for name in space.over), sizes[space.name]),
            space.name not in movable,
        )
        for space in spec.spaces
    }
    order = _inner_first(spec)
    signed = {s.name for s in order if s.group is _axes.Group.SIGN}
    for space in order:
        turned = frozenset(signed)
        signed.discard(space.name)
        step, alive[space.name] = _sort_by_incoming(params, spec, space, alive, turned)
        params, element = apply(step)
        for inner in order:
            if space.name in inner.over:
                moved = _element.Monomial(alive[inner.name], alive[inner.name])
                alive[inner.name] = _element.carry(inner.name, moved, step, spec).scale
    for space in reversed(order):
        step = _sort_dead(params, spec, space, alive[space.name])
        params, element = apply(step)
    return element


def _inner_first(spec: _spec.SymmetrySpec) -> list[_axes.Space]:
    """Return the spaces to be sorted, in the order of computation.

    But those over others come before these, whose neurons are compared by what lies
    over them.
    """
    order: list[_axes.Space] = []

    def visit(space):
        for inner in spec.matched_spaces:
            if space.name in inner.over and inner not in order:
                visit(inner)
        if space not in order:
            order.append(space)

    for space in spec.matched_spaces:
        visit(space)
    return order


def _sort_by_incoming(params, spec, space, alive, turned):
    """Fix signs and order of one space from its (canonical) incoming weights.

    Spaces in `turned` have no signs yet. Where another of them is written together with
    this one, their signs are known up to a common one only: those of this space are
    read at one neuron of the other, the one with the largest weights.
    """
    places, blocks = [*space.over, space.name], []
    with_others: dict[tuple[str, ...], list[Array]] = {}
    for leaf, rest in _unfold.blocks(params, spec, space.name, 1):
        names = [*places, *(None if a is None else a.space for a in rest)]
        for number, axis in enumerate(rest, start=len(places)):
            if axis is not None and axis.role == -1:
                mask = alive[axis.space]
                mask = jnp.tile(mask, axis.repeat) if axis.repeat > 1 else mask
                over = [*spec.space(axis.space).over, axis.space]
                mask = _element.spread_over(mask, over, names, leaf.ndim, at=number)
                leaf = jnp.where(mask, leaf, 0)
        blocks.append(leaf.reshape(*leaf.shape[: len(places)], -1))
        others, rows = _by_neuron_of_others(leaf, rest, spec, space, turned)
        with_others.setdefault(others, []).append(rows)
    outgoing = _unfold.unfold(params, spec, space.name, -1)
    kept = _unfold.unfold(params, spec, space.name, 0)
    if not blocks:  # a space that is only kept
        dtype = jnp.result_type(*_tree.flatten(params).values())
        blocks = [jnp.zeros((*alive[space.name].shape, 0), dtype)]
    incoming = jnp.concatenate(blocks, axis=-1)
    first = incoming
    if space.group is _axes.Group.SIGN and any(with_others):
        first = _told_by_one_neuron(with_others)
    order = _followers.for_each(len(space.over), _order_by_incoming, space)
    monomial, is_alive = order(first, incoming, outgoing, kept)
    return {space.name: monomial}, is_alive


def _by_neuron_of_others(leaf, rest, spec, space, turned):
    """Return the spaces without signs that an array writes beside one, and its rows.

    The latter are `[*over, m, n, k]` for the `m` neurons of those spaces.
    """
    rank = 1 + len(space.over)
    names = [
        a.space
        for a in rest
        if a is not None and a.role == 1 and a.repeat == 1 and a.space in turned
    ]
    wanted = {x for name in names for x in (name, *spec.space(name).over)}
    found = [
        (a.space, number)
        for number, a in enumerate(rest, start=rank)
        if a is not None and a.space in wanted - {space.name} and a.repeat == 1
    ]
    names = [name for name, _ in sorted(found)]
    axes = [number for _, number in sorted(found)]
    leaf = jnp.moveaxis(leaf, axes, range(rank - 1, rank - 1 + len(axes)))
    lead, size = leaf.shape[: rank - 1], leaf.shape[rank - 1 + len(axes)]
    num_others = math.prod(leaf.shape[rank - 1 : rank - 1 + len(axes)])
    return tuple(names), leaf.reshape(*lead, num_others, size, -1)


def _told_by_one_neuron(with_others) -> Array:
    """Return rows `[*over, n, m]` whose first entry that is not zero tells the sign."""
    columns = []
    for others in sorted(with_others, key=len):  # first what no other space turns
        rows = jnp.concatenate(with_others[others], axis=-1)
        largest = jnp.argmax(jnp.max(jnp.abs(rows), axis=(-2, -1)), axis=-1)
        index = largest[..., None, None, None]
        rows = jnp.take_along_axis(rows, index, axis=-3)[..., 0, :, :]
        if not rows.shape[-1]:
            continue
        at = jnp.argmax(jnp.abs(rows), axis=-1, keepdims=True)
        columns.append(jnp.take_along_axis(rows, at, axis=-1))
    told = jnp.concatenate(columns, axis=-1)
    is_first = (told != 0) & (jnp.cumsum(told != 0, axis=-1) == 1)
    return jnp.where(is_first, told, 0)


def _order_by_incoming(space, telling, incoming, outgoing, kept):
    """Return monomial and liveness of neurons with these weights, `[n, m]` each."""
    sign = _followers.leading_sign(space, telling)
    incoming = incoming * sign[:, None]
    outgoing = jnp.sort(jnp.abs(outgoing), axis=1)
    is_alive = jnp.any(incoming != 0, axis=1)
    last = (_generic(incoming), _generic(outgoing), *_kept_keys(kept, outgoing))
    order = jnp.arange(sign.size)
    if space.is_permuted:
        order = jnp.lexsort((*last, *_coarse_keys(incoming), ~is_alive))
    return _element.Monomial(order, sign[order]), is_alive[order]


def _sort_dead(params, spec, space, alive):
    """Fix signs and order of the dead neurons (at the end) by outgoing weights."""
    outgoing = _unfold.unfold(params, spec, space.name, -1)
    kept = _unfold.unfold(params, spec, space.name, 0)
    order = _followers.for_each(len(space.over), _order_dead, space)
    return {space.name: order(alive, outgoing, kept)}


def _order_dead(space, alive, outgoing, kept) -> _element.Monomial:
    sign = jnp.where(alive, 1, _followers.leading_sign(space, outgoing))
    outgoing = outgoing * sign[:, None]
    rank = jnp.where(alive, jnp.arange(alive.size), alive.size)
    kept = _kept_keys(kept, outgoing[:, :0])
    order = jnp.arange(alive.size)
    if space.is_permuted:
        order = jnp.lexsort((_generic(outgoing), *kept, *_coarse_keys(outgoing), rank))
    return _element.Monomial(order, sign[order])


def _kept_keys(kept: Array, outgoing: Array) -> tuple[Array, ...]:
    """Return sort keys `[n]`, minor first, that are used where incoming weights tie.

    Outgoing weights as far as they differ by more than rounding, then the absolute
    values of what is kept (power 0). None without the latter.
    """
    kept = jnp.sort(jnp.abs(kept), axis=1)
    if not kept.shape[1]:
        return ()
    keys = jnp.stack([_generic(kept), _generic(outgoing).astype(kept.dtype)])
    largest = jnp.max(jnp.abs(keys), axis=1, keepdims=True)
    return tuple(_levels(keys / jnp.where(largest > 0, largest, 1)))


def _generic(rows: Array) -> Array:
    """Return a fixed generic linear functional of each row, which breaks ties."""
    weights = np.cos(1.7 * np.arange(rows.shape[1]) ** 1.1)
    return jnp.sum(rows * weights.astype(rows.dtype)[None], axis=1)


def _coarse_keys(rows: Array) -> tuple[Array, Array]:
    """Return sort keys `[n]`, minor first: direction and norm of each row, to rounding.

    Balanced scales and folded phases are known to rounding only, and balancing gives
    many neurons one norm (1 if nothing reads them): rounding must not order those.
    """
    norm = _unfold.norm(rows)
    safe = jnp.where(norm > 0, norm, 1)
    keys = jnp.stack([_generic(rows / safe[:, None]), -jnp.log(safe)])
    direction, size = _levels(keys)
    return direction, size


def _levels(values: Array) -> Array:
    """Return ranks `[k, n]` along each row, equal where there is no gap between."""
    order = jnp.argsort(values, axis=1)
    ascending = jnp.take_along_axis(values, order, axis=1)
    gaps = jnp.diff(ascending, axis=1, prepend=ascending[:, :1])
    levels = jnp.cumsum(gaps > 100 * jnp.finfo(values.dtype).eps, axis=1)
    return jnp.take_along_axis(levels, jnp.argsort(order, axis=1), axis=1)
