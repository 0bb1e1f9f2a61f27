"""Balanced scales: the member of an orbit with the least norm.

Scales of neurons are found by coordinate descent, space by space, on the squared norm
of all parameters, which is convex in their logarithms. Derivatives are those of the
fixed point.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from symmerge_jax import programs
from symmerge_jax.symmetry import (
    _action,
    _atoms,
    _axes,
    _element,
    _parts,
    _slabs,
    _spec,
    _tree,
    _unfold,
)
from symmerge_jax.typing import Array, Params, Path

MAX_SWEEPS = 200
"""Bound on the sweeps over all spaces."""

RELAXATION = 1.17
"""Share of the way to its best scale that a neuron goes where spaces wait for others.

As the norm is a hyperbolic cosine around the best scale it falls for any share below 2.
This is the best one for three hidden layers (successive over-relaxation, Young 1954):
errors shrink to 0.17 in a sweep, not to 0.5.
"""


def balance_scales(
    params: Params,
    spec: _spec.SymmetrySpec,
    *,
    tolerance: float | None = None,
    max_sweeps: int = MAX_SWEEPS,
) -> _element.GroupElement:
    """Return the scales that balance every `Group.SCALE` space; nothing is permuted.

    Each sweep sets `scale_i = sqrt(||outgoing_i|| / ||incoming_i, bias_i||)` space by
    space, or overshoots it a little (`RELAXATION`); this is coordinate descent on a
    function that is convex in the logarithms of the scales, the squared norm of all
    parameters. A neuron with only one of the two
    norms gets that norm set to one, a neuron without any stays as it is.

    Args:
      params: parameters of one network.
      spec: symmetry of the architecture.
      tolerance: stop when no logarithm of a scale changes by more than this in a
        sweep; None for 16 units of rounding of the data type.
      max_sweeps: upper bound on the number of sweeps.
    """
    spaces = [space for space in spec.spaces if space.group is _axes.Group.SCALE]
    shapes = _element.element_shapes(spec, spec.sizes(params))
    if not spaces:
        return {}
    dtype = _tree.computing_dtype(params)
    if tolerance is None:
        tolerance = 16 * float(jnp.finfo(dtype).eps)
    view = _atoms.atoms_of(spec, params)
    params, spec = view.view(params), view.spec
    params, spec = _tree.split(params)[0], spec.restrict(params)  # what has derivatives
    numbers: Any = programs.namespace(params)
    solve = _by_sweeps if numbers is np else _balanced
    with np.errstate(all="ignore"):  # as JAX
        scales = solve(params, spec, dtype, tolerance, max_sweeps)
    shapes = {name: shapes[name] for name in scales}
    start = _element.identity(shapes, dtype, numbers)
    return {name: start[name]._replace(scale=scales[name]) for name in scales}


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def _balanced(params, spec, dtype, tolerance, max_sweeps) -> dict[str, Array]:
    """Return the scales of `balance_scales`; derivatives are those of the limit."""
    return _by_sweeps(params, spec, dtype, tolerance, max_sweeps)


def _by_sweeps(params, spec, dtype, tolerance, max_sweeps) -> dict[str, Array]:
    """Return the scales of `balance_scales`."""
    leaves, kept = _tree.flatten(params), _kept_axes(spec)
    norms = {
        path: _unfold.norm(_rows(leaves[path], axes)) for path, axes in kept.items()
    }
    return _fixed_point(
        _tree.unflatten(norms),
        *(spec, kept, spec.sizes(params)),
        *(dtype, tolerance, max_sweeps),
    )


def balance_stored(
    leaves: Mapping[Path, Array], spec: _spec.SymmetrySpec, max_bytes: int
) -> _element.GroupElement:
    """Return `balance_scales` of a network that is read piece by piece.

    Norms over all axes that no scale changes are in memory. An array without such an
    axis is read again in every sweep.

    Args:
      leaves: atoms by path, all of them parameters.
      spec: symmetry of the atoms.
      max_bytes: of a piece of an array.
    """
    kept, norms, params = _kept_axes(spec), {}, _tree.unflatten(leaves)
    if not kept:
        return {}
    dtype = _tree.computing_dtype(dict(leaves))
    for path, axes in kept.items():
        if len(axes) == leaves[path].ndim:
            norms[path] = leaves[path]
            continue
        part = _parts.part_of(spec, frozenset([path]))
        whole = {axis.space for axis in axes.values()}
        squares: Any = 0.0
        for slab in _slabs.slabs(
            [leaves], [{}], part, whole=whole, max_bytes=max_bytes
        ):
            rows = _rows(slab.arrays[0], axes).astype(np.float64)
            squares = squares + np.einsum("...i,...i->...", rows, rows)
        norms[path] = np.sqrt(squares).astype(dtype)

    def while_loop(unfinished, step, state):
        def give_back_after(state):
            state = step(state)
            for leaf in leaves.values():
                _slabs.give_back(leaf)
            return state

        return programs.control(np).while_loop(unfinished, give_back_after, state)

    options = dtype, 16 * float(jnp.finfo(dtype).eps), MAX_SWEEPS
    scales = _fixed_point(
        _tree.unflatten(norms), spec, kept, spec.sizes(params), *options, while_loop
    )
    start = _element.identity({n: x.shape for n, x in scales.items()}, dtype, np)
    return {name: start[name]._replace(scale=scales[name]) for name in scales}


def _fixed_point(
    norms: Params,
    spec: _spec.SymmetrySpec,
    kept: Mapping[Path, Mapping[int, _axes.Axis]],
    sizes: Mapping[str, int],
    dtype: np.dtype,
    tolerance: float,
    max_sweeps: int,
    while_loop: Callable[..., Any] | None = None,
) -> dict[str, Array]:
    """Return the scales that balance a network, given norms of its parameters."""
    spaces = [space for space in spec.spaces if space.group is _axes.Group.SCALE]
    shapes = _element.element_shapes(spec, sizes)
    spec, numbers = _condensed(spec, kept), programs.namespace(norms)
    while_loop = while_loop or programs.control(numbers).while_loop
    # A space is balanced by the parameters that it scales: no others are moved for it.
    moving = {
        space: _parts.part_of(spec, frozenset(scaled))
        for space in spaces
        if (scaled := [path for path, _, _ in spec.uses(space.name, 1, -1)])
    }
    parts = [
        (
            *(space, part, _parts.take_part(norms, part)),
            _pace(part, space, alone=len(moving) == 1),
        )
        for space, part in moving.items()
    ]

    def sweep(state):
        scales, _, count = state
        change = numbers.zeros((), dtype)
        for space, part, own, pace in parts:
            near = {s.name: scales[s.name] for s in part.spaces if s.name in scales}
            moved = _action.rescale(near, own, part)
            factor = _balancing_factor(moved, part, space) ** pace
            change = numbers.maximum(change, abs(numbers.log(factor)).max())
            scales = {**scales, space.name: scales[space.name] * factor}
        return scales, change, count + 1

    def unfinished(state):
        _, change, count = state
        return (change > tolerance) & (count < max_sweeps)

    start: dict[str, Array] = {
        space.name: numbers.ones(shapes[space.name], dtype) for space in spaces
    }
    state = (start, numbers.full((), np.inf, dtype), 0)
    scales: dict[str, Array] = while_loop(unfinished, sweep, state)[0]
    return scales


def _kept_axes(spec: _spec.SymmetrySpec) -> dict[Path, dict[int, _axes.Axis]]:
    """Return the axes of parameters that scales change, or lie over, by number.

    Scales change norms over the others as they change weights, and norms are all that
    balance asks for.
    """
    scaled = {s.name: s for s in spec.spaces if s.group is _axes.Group.SCALE}
    outer = {name for space in scaled.values() for name in space.over}
    kept = {
        path: {
            number: axis
            for number, axis in enumerate(axes)
            if axis is not None
            and (axis.space in outer or any(axis.exponent(n) for n in scaled))
        }
        for path, axes in spec.atomic_axes
    }
    return {path: axes for path, axes in kept.items() if axes}


def _rows(leaf: Array, axes: Mapping[int, _axes.Axis]) -> Array:
    """Return an array with these axes first and all others in one behind them."""
    leaf = programs.namespace(leaf).moveaxis(leaf, list(axes), range(len(axes)))
    return leaf.reshape(*leaf.shape[: len(axes)], -1)


def _condensed(spec, kept) -> _spec.SymmetrySpec:
    """Return the spec of the norms over all axes but those kept."""
    found = [axis for axes in kept.values() for axis in axes.values()]
    names = {name for axis in found for name in (axis.space, *dict(axis.also))}
    return dataclasses.replace(
        spec,
        axes=tuple((path, tuple(axes.values())) for path, axes in kept.items()),
        spaces=tuple(
            dataclasses.replace(space, frequency=None)
            for space in spec.spaces
            if space.name in names
        ),
        statistics=(),
    )


def _balancing_factor(params, spec, space) -> Array:
    """Return the factor of each neuron that gives its weights the least norm."""
    incoming = _unfold.norms(params, spec, space.name, +1)
    outgoing = _unfold.norms(params, spec, space.name, -1)
    numbers = programs.namespace(incoming, outgoing)
    one_sided = numbers.where(incoming > 0, 1 / incoming, outgoing)
    powers = {a.exponent(space.name) for _, _, a in spec.uses(space.name, 1, -1)}
    if powers <= {1, -1}:
        both = numbers.sqrt(outgoing) / numbers.sqrt(incoming)
    else:
        both = _least_norm_factor(params, spec, space)
    either = (incoming > 0) | (outgoing > 0)
    one_sided = numbers.where(either, one_sided, 1).astype(incoming.dtype)
    return numbers.where((incoming > 0) & (outgoing > 0), both, one_sided)


def _pace(spec, space, *, alone: bool) -> float:
    """Return the share of the way to its best scale that a neuron goes at once."""
    exponents = [
        [a.exponent(space.name) for a in axes if a is not None]
        for _, axes in spec.atomic_axes
    ]
    if any(sum(power != 0 for power in powers) > 1 for powers in exponents):
        # Neurons that read each other change together: half the way does not overshoot.
        return 0.5
    symmetric = {power for powers in exponents for power in powers} <= {-1, 0, 1}
    return RELAXATION if symmetric and not alone else 1.0


def _least_norm_factor(params, spec, space) -> Array:
    """Return the factor for any exponents: Newton steps on a convex function."""
    squares: dict[float, Any] = {}
    numbers = programs.namespace(params)
    uses = zip(
        (a for _, _, a in spec.uses(space.name, 1, -1)),
        _unfold.unfold_uses(params, spec, space.name, 1, -1),
        strict=True,
    )
    for axis, rows in uses:
        power = float(axis.exponent(space.name))
        squares[power] = squares.get(power, 0) + (rows**2).sum(axis=-1)

    def newton(log):
        terms = {p: q * numbers.exp(2 * p * log) for p, q in squares.items()}
        slope = sum(p * term for p, term in terms.items())
        curve = sum(2 * p**2 * term for p, term in terms.items())
        step = slope / numbers.where(curve > 0, curve, 1)
        return log - numbers.clip(step, -1, 1)

    log, _ = programs.control(numbers).while_loop(
        lambda state: state[1] < 8,
        lambda state: (newton(state[0]), state[1] + 1),
        (numbers.zeros_like(sum(squares.values())), 0),
    )
    return numbers.exp(log)


@_balanced.defjvp
def _balanced_jvp(spec, dtype, tolerance, max_sweeps, primals, tangents):
    """Differentiate the equations that balanced scales solve.

    They are the gradient of half the squared norm by the logarithms of the scales: its
    Hessian is symmetric, and conjugate gradients invert it.
    """
    scales = _balanced(*primals, spec, dtype, tolerance, max_sweeps)
    start = _element.identity({name: s.shape for name, s in scales.items()}, dtype)

    def excess(logs, params):
        element = {
            name: _element.Monomial(start[name].perm, scale * jnp.exp(logs[name]))
            for name, scale in scales.items()
        }
        moved = _action.act(element, params, spec)

        def squares(name, role):
            axes = (axis for _, _, axis in spec.uses(name, role))
            uses = _unfold.unfold_uses(moved, spec, name, role)
            return sum(
                abs(float(axis.exponent(name))) * jnp.sum(rows**2, axis=-1)
                for axis, rows in zip(axes, uses, strict=True)
            )

        return {name: squares(name, 1) - squares(name, -1) for name in logs}

    zeros = jax.tree.map(jnp.zeros_like, scales)
    _, change = jax.jvp(functools.partial(excess, zeros), primals, tangents)

    def hessian(v):
        return jax.jvp(lambda x: excess(x, *primals), (zeros,), (v,))[1]

    total = sum(scale.size for scale in scales.values())
    options = dict(tol=4 * float(jnp.finfo(dtype).eps), maxiter=4 * total + 20)
    # `cg` alone would make its first guess depend on `change`: not in reverse mode.
    steps = jax.lax.custom_linear_solve(
        hessian,
        change,
        lambda matvec, b: cg(matvec, b, **options)[0],
        symmetric=True,
    )
    return scales, {name: -scale * steps[name] for name, scale in scales.items()}
