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

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from symmerge_jax.symmetry import _action, _axes, _element, _spec, _tree, _unfold
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
    params = fold_phases(params, spec)
    return _action.act(canonical_element(params, spec), params, spec)


def canonical_element(
    params: Params, spec: _spec.SymmetrySpec
) -> _element.GroupElement:
    """Return the element that maps a network with folded phases to its canonical form.

    Args:
      params: parameters of one network; apply `fold_phases`, no group element, before.
      spec: symmetry of the architecture.
    """
    element = balance_scales(params, spec)
    params = _action.act(element, params, spec)
    sizes = spec.sizes(params)
    # What is read from dead neurons, or from spaces that are not sorted yet (a residual
    # stream), says nothing about the neuron that reads it.
    movable = {s.name for s in spec.spaces if s.group is not _axes.Group.TRIVIAL}
    alive = {name: jnp.full(size, name not in movable) for name, size in sizes.items()}
    for space in spec.spaces:
        if space.group is not _axes.Group.TRIVIAL:
            step, alive[space.name] = _sort_by_incoming(params, spec, space, alive)
            params = _action.act(step, params, spec)
            element = _element.compose(step, element)
    for space in reversed(spec.spaces):
        if space.group is not _axes.Group.TRIVIAL:
            step = _sort_dead(params, spec, space, alive[space.name])
            params = _action.act(step, params, spec)
            element = _element.compose(step, element)
    return element


def balance_scales(
    params: Params,
    spec: _spec.SymmetrySpec,
    *,
    tolerance: float | None = None,
    max_sweeps: int = 200,
) -> _element.GroupElement:
    """Return the scales that balance every `Group.SCALE` space; nothing is permuted.

    Each sweep sets `scale_i = sqrt(||outgoing_i|| / ||incoming_i, bias_i||)` space by
    space; this is coordinate descent on a function that is convex in the logarithms of
    the scales, the squared norm of all parameters. A neuron with only one of the two
    norms gets that norm set to one, a neuron without any stays as it is.

    Args:
      params: parameters of one network.
      spec: symmetry of the architecture.
      tolerance: stop when no logarithm of a scale changes by more than this in a
        sweep; None for 16 units of rounding of the data type.
      max_sweeps: upper bound on the number of sweeps.
    """
    spaces = [space for space in spec.spaces if space.group is _axes.Group.SCALE]
    sizes = spec.sizes(params)
    if not spaces:
        return {}
    dtype = _tree.computing_dtype(params)
    if tolerance is None:
        tolerance = 16 * float(jnp.finfo(dtype).eps)
    params, spec = _tree.split(params)[0], spec.restrict(params)  # what has derivatives
    scales = _balanced(params, spec, dtype, tolerance, max_sweeps)
    start = _element.identity({name: sizes[name] for name in scales}, dtype)
    return {
        name: _element.Monomial(start[name].perm, scale)
        for name, scale in scales.items()
    }


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _balanced(params, spec, dtype, tolerance, max_sweeps) -> dict[str, Array]:
    """Return the scales of `balance_scales`; derivatives are those of the limit."""
    spaces = [space for space in spec.spaces if space.group is _axes.Group.SCALE]
    sizes = spec.sizes(params)
    start = _element.identity(
        {space.name: sizes[space.name] for space in spaces}, dtype
    )

    def sweep(state):
        element, _, count = state
        change = jnp.zeros((), dtype)
        for space in spaces:
            moved = _action.act(element, params, spec)
            incoming = _norms(moved, spec, space, +1)
            outgoing = _norms(moved, spec, space, -1)
            one_sided = jnp.where(incoming > 0, 1 / incoming, outgoing)
            factor = jnp.select(
                [(incoming > 0) & (outgoing > 0), (incoming > 0) | (outgoing > 0)],
                [jnp.sqrt(outgoing) / jnp.sqrt(incoming), one_sided],
                1,
            )
            change = jnp.maximum(change, jnp.max(jnp.abs(jnp.log(factor))))
            perm, scale = element[space.name]
            element = {**element, space.name: _element.Monomial(perm, scale * factor)}
        return element, change, count + 1

    def unfinished(state):
        _, change, count = state
        return (change > tolerance) & (count < max_sweeps)

    state = (start, jnp.full((), jnp.inf, dtype), 0)
    found = jax.lax.while_loop(unfinished, sweep, state)[0]
    return {name: scale for name, (_, scale) in found.items()}


@_balanced.defjvp
def _balanced_jvp(spec, dtype, tolerance, max_sweeps, primals, tangents):
    """Differentiate the equations that balanced scales solve.

    They are the gradient of half the squared norm by the logarithms of the scales: its
    Hessian is symmetric, and conjugate gradients invert it.
    """
    scales = _balanced(*primals, spec, dtype, tolerance, max_sweeps)

    def excess(logs, params):
        element = {
            name: _element.Monomial(jnp.arange(len(scale)), scale * jnp.exp(logs[name]))
            for name, scale in scales.items()
        }
        moved = _action.act(element, params, spec)

        def squares(name, power):
            uses = _unfold.unfold_uses(moved, spec, name, power)
            return sum(jnp.sum(rows**2, axis=1) for rows in uses)

        return {name: squares(name, 1) - squares(name, -1) for name in logs}

    zeros = jax.tree.map(jnp.zeros_like, scales)
    _, change = jax.jvp(functools.partial(excess, zeros), primals, tangents)

    def hessian(v):
        return jax.jvp(lambda x: excess(x, *primals), (zeros,), (v,))[1]

    total = sum(len(scale) for scale in scales.values())
    options = dict(tol=4 * float(jnp.finfo(dtype).eps), maxiter=4 * total + 20)
    # `cg` alone would make its first guess depend on `change`: not in reverse mode.
    steps = jax.lax.custom_linear_solve(
        hessian,
        change,
        lambda matvec, b: cg(matvec, b, **options)[0],
        symmetric=True,
    )
    return scales, {name: -scale * steps[name] for name, scale in scales.items()}


def fold_phases(params: Params, spec: _spec.SymmetrySpec) -> Params:
    """Return the same function (to rounding) with every sine's phase in [-pi/2, pi/2].

    `sin(w0 (W x + b))` is unchanged by `b -> b + 2 pi k / w0` and by the half-period
    flip `(W, b) -> (-W, pi / w0 - b)`; only spaces with a `frequency` are folded, never
    the linear output. Neurons that are in range keep their bits.

    Args:
      params: parameters of one network.
      spec: symmetry of the architecture.
    """
    leaves = _tree.flatten(params)
    for space in spec.spaces:
        if space.frequency is None:
            continue
        [bias_path] = [p for p, axes in spec.axes if axes == (_axes.Axis(space.name),)]
        bias, flip = _fold(leaves[bias_path], space.frequency)
        for path, number, axis in spec.uses(space.name, 1):
            if path == bias_path:
                leaves[path] = bias
            else:
                shape = [1] * leaves[path].ndim
                shape[number] = -1
                factor = jnp.tile(flip, axis.repeat).reshape(shape)
                leaves[path] = leaves[path] * factor
    return _tree.rebuild(params, leaves)


def _fold(bias: Array, frequency: float) -> tuple[Array, Array]:
    """Return the folded bias `[n]` and the sign `[n]` of the neuron's weights."""
    period = 2 * math.pi / frequency
    # Two-part period: `high` has 12 bits, so that `k * high` is exact in float32 for
    # |k| < 2**12 and the reduction of a large phase loses nothing to cancellation.
    mantissa, exponent = math.frexp(period)
    high = math.ldexp(round(mantissa * 2**12), exponent - 12)
    low = period - high
    turns = jnp.round(bias / period)
    reduced = (bias - turns * high) - turns * low
    bias = jnp.where(turns == 0, bias, reduced)
    quarter = period / 4
    flipped = jnp.sign(bias) * (high / 2) - bias + jnp.sign(bias) * (low / 2)
    beyond = jnp.abs(bias) > quarter * (1 + 4 * float(jnp.finfo(bias.dtype).eps))
    return jnp.where(beyond, flipped, bias), jnp.where(beyond, -1, 1).astype(bias.dtype)


def _norms(params, spec, space, power) -> Array:
    return _norm(_unfold.unfold(params, spec, space.name, power))


def _norm(rows: Array) -> Array:
    """Return the norm `[n]` of each row, safe from overflow and underflow."""
    largest = jnp.max(jnp.abs(rows), axis=1, initial=0)
    safe = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((rows / safe[:, None]) ** 2, axis=1))


def _sort_by_incoming(params, spec, space, alive):
    """Fix signs and order of one space from its (canonical) incoming weights."""
    blocks = []
    for leaf, rest in _unfold.blocks(params, spec, space.name, 1):
        for number, axis in enumerate(rest, start=1):
            if axis is not None and axis.power == -1:
                mask = jnp.tile(alive[axis.space], axis.repeat)
                shape = [1] * leaf.ndim
                shape[number] = -1
                leaf = jnp.where(mask.reshape(shape), leaf, 0)
        blocks.append(leaf.reshape(leaf.shape[0], -1))
    if not blocks:  # a space that is only kept
        dtype = jnp.result_type(*_tree.flatten(params).values())
        blocks = [jnp.zeros((spec.sizes(params)[space.name], 0), dtype)]
    incoming = jnp.concatenate(blocks, axis=1)
    sign = _leading_sign(incoming, space)
    incoming = incoming * sign[:, None]
    outgoing = jnp.sort(jnp.abs(_unfold.unfold(params, spec, space.name, -1)), axis=1)
    is_alive = jnp.any(incoming != 0, axis=1)
    kept = _kept_keys(params, spec, space, outgoing)
    last = (_generic(incoming), _generic(outgoing), *kept)
    order = jnp.lexsort((*last, *_coarse_keys(incoming), ~is_alive))
    return {space.name: _element.Monomial(order, sign[order])}, is_alive[order]


def _sort_dead(params, spec, space, alive):
    """Fix signs and order of the dead neurons (at the end) by outgoing weights."""
    outgoing = _unfold.unfold(params, spec, space.name, -1)
    sign = jnp.where(alive, 1, _leading_sign(outgoing, space))
    outgoing = outgoing * sign[:, None]
    rank = jnp.where(alive, jnp.arange(alive.size), alive.size)
    kept = _kept_keys(params, spec, space, outgoing[:, :0])
    order = jnp.lexsort((_generic(outgoing), *kept, *_coarse_keys(outgoing), rank))
    return {space.name: _element.Monomial(order, sign[order])}


def _kept_keys(params, spec, space, outgoing) -> tuple[Array, ...]:
    """Return sort keys `[n]`, minor first, that are used where incoming weights tie.

    Outgoing weights as far as they differ by more than rounding, then the absolute
    values of what is kept (power 0). None without the latter.
    """
    kept = jnp.sort(jnp.abs(_unfold.unfold(params, spec, space.name, 0)), axis=1)
    if not kept.shape[1]:
        return ()
    keys = jnp.stack([_generic(kept), _generic(outgoing).astype(kept.dtype)])
    largest = jnp.max(jnp.abs(keys), axis=1, keepdims=True)
    return tuple(_levels(keys / jnp.where(largest > 0, largest, 1)))


def _leading_sign(rows: Array, space: _axes.Space) -> Array:
    """Return the sign `[n]` of each row's largest entry; +1 for zero rows."""
    if space.group is not _axes.Group.SIGN or rows.shape[1] == 0:
        return jnp.ones(rows.shape[0], rows.dtype)
    largest = jnp.argmax(jnp.abs(rows), axis=1)
    value = jnp.take_along_axis(rows, largest[:, None], axis=1)[:, 0]
    return jnp.where(value < 0, -1, 1).astype(rows.dtype)


def _generic(rows: Array) -> Array:
    """Return a fixed generic linear functional of each row, which breaks ties."""
    weights = np.cos(1.7 * np.arange(rows.shape[1]) ** 1.1)
    return jnp.sum(rows * weights.astype(rows.dtype)[None], axis=1)


def _coarse_keys(rows: Array) -> tuple[Array, Array]:
    """Return sort keys `[n]`, minor first: direction and norm of each row, to rounding.

    Balanced scales and folded phases are known to rounding only, and balancing gives
    many neurons one norm (1 if nothing reads them): rounding must not order those.
    """
    norm = _norm(rows)
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
