"""Phases of sine neurons, folded into half a period."""

import math

import jax.numpy as jnp

from symmerge_jax import programs
from symmerge_jax.symmetry import _atoms, _axes, _spec, _tree
from symmerge_jax.typing import Array, Params


def fold_phases(params: Params, spec: _spec.SymmetrySpec) -> Params:
    """Return the same function (to rounding) with every sine's phase in [-pi/2, pi/2].

    `sin(w0 (W x + b))` is unchanged by `b -> b + 2 pi k / w0` and by the half-period
    flip `(W, b) -> (-W, pi / w0 - b)`; only spaces with a `frequency` are folded, never
    the linear output. Neurons that are in range keep their bits.

    Phases are no part of the group: separate fits need not agree on them.

    Args:
      params: parameters of one network, or `[*N, ...]` of many.
      spec: symmetry of the architecture.

    Raises:
      ValueError: many networks whose leading axes differ.
    """
    if all(space.frequency is None for space in spec.spaces):
        return params
    rank, view = len(spec.batch_shape(params)), _atoms.atoms_of(spec, params)
    atoms, spec = view.view(params, rank), view.spec
    leaves = _tree.flatten(atoms)
    for space in spec.spaces:
        if space.frequency is None:
            continue
        [bias_path] = [p for p, axes in spec.axes if axes == (_axes.Axis(space.name),)]
        bias, flip = _fold(leaves[bias_path], space.frequency)
        for path, number, axis in spec.uses(space.name, 1):
            if path == bias_path:
                leaves[path] = bias
                continue
            shape = [*flip.shape[:-1], *[1] * (leaves[path].ndim - rank)]
            shape[rank + number] = -1
            tiles = (*[1] * rank, axis.repeat)
            factor = programs.namespace(flip).tile(flip, tiles).reshape(shape)
            leaves[path] = leaves[path] * factor
    return view.undo(_tree.rebuild(atoms, leaves), params, rank)


def _fold(bias: Array, frequency: float) -> tuple[Array, Array]:
    """Return the folded bias `[*N, n]` and the signs `[*N, n]` of neurons' weights."""
    period = 2 * math.pi / frequency
    # Two-part period: `high` has 12 bits, so that `k * high` is exact in float32 for
    # |k| < 2**12 and the reduction of a large phase loses nothing to cancellation.
    mantissa, exponent = math.frexp(period)
    high = math.ldexp(round(mantissa * 2**12), exponent - 12)
    low = period - high
    numbers = programs.namespace(bias)
    turns = numbers.round(bias / period)
    reduced = (bias - turns * high) - turns * low
    bias = numbers.where(turns == 0, bias, reduced)
    quarter = period / 4
    sign = numbers.sign(bias)
    flipped = sign * (high / 2) - bias + sign * (low / 2)
    beyond = abs(bias) > quarter * (1 + 4 * float(jnp.finfo(bias.dtype).eps))
    sign = numbers.where(beyond, -1, 1).astype(bias.dtype)
    return numbers.where(beyond, flipped, bias), sign
