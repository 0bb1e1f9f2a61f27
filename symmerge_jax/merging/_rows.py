"""A layer as a regression: rows of inputs, and what is wanted of each.

Convolutions read patches: `[S, *height_and_width, K, C]` for kernels of `K` positions.
Sums over rows are taken a few samples at a time.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax.merging._tape import Step
from symmerge_jax.typing import Array

_MAX_ENTRIES = 1 << 24
"""Of the patches that stand in memory at once."""


class Sums(NamedTuple):
    """Sums over the rows of `G` groups with `I` inputs and `O` outputs.

    Attributes:
      count: `[]` rows.
      x: `[G, I]`, y: `[G, O]`, xx: `[G, I, I]`, xy: `[G, I, O]`, yy: `[G, O]`.
    """

    count: Any
    x: Any
    y: Any
    xx: Any
    xy: Any
    yy: Any


def sums(
    step: Step, position: int, kernel: Sequence[int], data: Array, wanted: Array
) -> Sums:
    """Return the sums of a layer over the samples of an array.

    Args:
      step: the layer, a product or a convolution.
      position: which of its operands are the data.
      kernel: shape of its weights.
      data: that operand.
      wanted: what is regressed, of the shape of the result.
    """
    if step.name == "dot_general":
        return sums_of(*_product_rows(step, position, data, wanted))
    geometry = _Geometry.of(step, kernel, data.shape)
    x, y = geometry.channels_last(data, wanted)
    size = geometry.num_inputs * geometry.groups * int(np.prod(y.shape[1:-1]))
    chunk = max(1, min(len(x), _MAX_ENTRIES // max(size, 1)))
    outputs = y.shape[-1] // geometry.groups
    total = _zero(geometry.groups, geometry.num_inputs, outputs)
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        total = _add_patches(total, x[part], y[part], geometry)
    return total


def sums_of(x: Array, y: Array) -> Sums:
    """Return the sums of rows `[R, I]` and `[R, O]`."""
    chunk = max(1, _MAX_ENTRIES // x.shape[1])
    total = _zero(1, x.shape[1], y.shape[1])
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        total = _add(total, x[part][:, None], y[part][:, None])
    return total


def halves(
    step: Step, position: int, data: Array, wanted: Array, num_samples: int
) -> list[tuple[Array, Array]]:
    """Return data and what is wanted for every other sample, and for the rest."""
    if step.name == "conv_general_dilated":
        numbers = step.options["dimension_numbers"]
        axes = numbers.lhs_spec[0], numbers.out_spec[0]
    else:
        contracted = step.options["dimension_numbers"][0][position]
        rows = [i for i in range(data.ndim) if i not in contracted]
        if not rows:
            raise ValueError("A layer reads no samples: its outputs are one vector.")
        row = next((i for i in rows if data.shape[i] == num_samples), rows[0])
        first = 0 if position == 0 else wanted.ndim - len(rows)
        axes = row, first + rows.index(row)
    return [
        (
            jax.lax.slice_in_dim(data, start, None, 2, axes[0]),
            jax.lax.slice_in_dim(wanted, start, None, 2, axes[1]),
        )
        for start in (0, 1)
    ]


def to_matrix(step: Step, position: int, weight: Array) -> Array:
    """Return weights as `[G, I, O]`, in the order of the rows; `position` as above."""
    if step.name == "dot_general":
        contracted, free = _weight_axes(step, position, weight.ndim)
        size = int(np.prod([weight.shape[i] for i in contracted]))
        return jnp.transpose(weight, (*contracted, *free)).reshape(1, size, -1)
    out, inner, *spatial = step.options["dimension_numbers"].rhs_spec
    groups = step.options["feature_group_count"]
    kernel = jnp.transpose(weight, (*spatial, inner, out))
    flat = kernel.reshape(-1, groups, weight.shape[out] // groups)
    return jnp.moveaxis(flat, 1, 0)


def from_matrix(step: Step, position: int, matrix: Array, weight: Array) -> Array:
    """Return weights in their own shape, that of `weight`: `to_matrix` undone."""
    if step.name == "dot_general":
        contracted, free = _weight_axes(step, position, weight.ndim)
        order = (*contracted, *free)
        moved = matrix.reshape([weight.shape[i] for i in order])
        return jnp.transpose(moved, tuple(np.argsort(order)))
    out, inner, *spatial = step.options["dimension_numbers"].rhs_spec
    order = (*spatial, inner, out)
    flat = jnp.moveaxis(matrix, 0, 1).reshape([weight.shape[i] for i in order])
    return jnp.transpose(flat, tuple(np.argsort(order)))


def scale_neurons(step: Step, position: int, weight: Array, factor: Array) -> Array:
    """Return weights that write every neuron, `[G * O]` of them, times a factor."""
    matrix = to_matrix(step, position, weight)
    factor = factor.reshape(matrix.shape[0], 1, -1).astype(matrix.dtype)
    return from_matrix(step, position, matrix * factor, weight)


def _weight_axes(step: Step, position: int, ndim: int):
    """Return the contracted and the free axes of the weights of a product."""
    contracted = step.options["dimension_numbers"][0][1 - position]
    free = [i for i in range(ndim) if i not in contracted]
    return tuple(contracted), tuple(free)


def _product_rows(step: Step, position: int, data: Array, wanted: Array):
    """Return rows `[R, I]` and `[R, O]` of a product."""
    contracted = tuple(step.options["dimension_numbers"][0][position])
    free = [i for i in range(data.ndim) if i not in contracted]
    size = int(np.prod([data.shape[i] for i in contracted]))
    x = jnp.transpose(data, (*free, *contracted)).reshape(-1, size)
    if position == 1:  # the neurons come first
        wanted = jnp.moveaxis(
            wanted, range(wanted.ndim - len(free)), range(len(free) - wanted.ndim, 0)
        )
    return x, wanted.reshape(len(x), -1)


class _Geometry(NamedTuple):
    """A convolution, as its patches need it."""

    lhs: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    num_inputs: int

    @classmethod
    def of(cls, step: Step, weights: Sequence[int], data: Sequence[int]) -> "_Geometry":
        options, numbers = step.options, step.options["dimension_numbers"]
        kernel = tuple(weights[i] for i in numbers.rhs_spec[2:])
        groups = options["feature_group_count"]
        return cls(
            numbers.lhs_spec,
            numbers.out_spec,
            kernel,
            tuple(options["window_strides"]),
            tuple(map(tuple, options["padding"])),
            tuple(options["rhs_dilation"]),
            groups,
            int(np.prod(kernel)) * data[numbers.lhs_spec[1]] // groups,
        )

    def channels_last(self, data: Array, wanted: Array):
        """Return data and what is wanted as `[S, *spatial, C]`."""
        lhs, out = self.lhs, self.out
        x = jnp.transpose(data, (lhs[0], *lhs[2:], lhs[1]))
        return x, jnp.transpose(wanted, (out[0], *out[2:], out[1]))


@functools.partial(jax.jit, static_argnames="geometry")
def _add_patches(total: Sums, x: Array, y: Array, geometry: _Geometry) -> Sums:
    g, pads = geometry, [(0, 0), *geometry.padding, (0, 0)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(a, b, 0) for a, b in pads])
    spatial = y.shape[1:-1]
    shifted = []
    for offset in itertools.product(*map(range, g.kernel)):
        start = [o * d for o, d in zip(offset, g.dilation, strict=True)]
        stop = [
            s + (n - 1) * stride + 1
            for s, n, stride in zip(start, spatial, g.strides, strict=True)
        ]
        shifted.append(
            jax.lax.slice(
                x,
                (0, *start, 0),
                (x.shape[0], *stop, x.shape[-1]),
                (1, *g.strides, 1),
            )
        )
    patches = jnp.stack(shifted, -2)  # [S, *spatial, K, C]
    shape = (*patches.shape[:-1], g.groups, -1)
    patches = jnp.moveaxis(patches.reshape(shape), -2, -3)  # [..., G, K, C / G]
    rows = patches.reshape(-1, g.groups, g.num_inputs)
    return _sum_rows(total, rows, y.reshape(len(rows), g.groups, -1))


@jax.jit
def _add(total: Sums, x: Array, y: Array) -> Sums:
    return _sum_rows(total, x, y)


def _sum_rows(total: Sums, x: Array, y: Array) -> Sums:
    """Add the sums of rows `[R, G, I]` and `[R, G, O]`."""
    x, y = (v.astype(jnp.promote_types(v.dtype, jnp.float32)) for v in (x, y))
    x, y = jnp.moveaxis(x, 1, 0), jnp.moveaxis(y, 1, 0)
    product = functools.partial(jnp.matmul, precision="highest")
    across = jnp.moveaxis(x, 1, 2)
    new = Sums(
        jnp.asarray(x.shape[1], x.dtype),
        x.sum(1),
        y.sum(1),
        product(across, x),
        product(across, y),
        jnp.sum(y * y, 1),
    )
    return jax.tree.map(lambda a, b: a + b, total, new)


def _zero(groups: int, inputs: int, outputs: int) -> Sums:
    return Sums(
        jnp.zeros(()),
        jnp.zeros((groups, inputs)),
        jnp.zeros((groups, outputs)),
        jnp.zeros((groups, inputs, inputs)),
        jnp.zeros((groups, inputs, outputs)),
        jnp.zeros((groups, outputs)),
    )
