"""Rules of sums over axes: matrix products, convolutions, reductions."""

from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value
from symmerge_jax.tracing._weights import Weights, change, replace, total


@rule("dot_general")
def dot(ctx: Interpreter, eqn: Any, a: Value, b: Value) -> Value:
    """A sum over an axis does not depend on its order, if both factors agree on it.

    Nor on its scales, if they cancel. Batch axes behave as in a product of entries, the
    other axes are those of the factors.
    """
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    text = "cut in two ways, which dot_general joins"
    batch: list[Axis] = []
    weights: list[Weights] = []
    summed: list[Axis] = []
    for i, j in zip(left_batch, right_batch, strict=True):
        batch.append(ctx.unify(a.axes[i], b.axes[j], text))
    for i, j in zip(left, right, strict=True):
        summed.append(ctx.unify(a.axes[i], b.axes[j], text))
    for i, j, axis in zip(left_batch, right_batch, batch, strict=True):
        weights.append(total(ctx.along(a, i, axis), ctx.along(b, j, axis)))
    for i, j, axis in zip(left, right, summed, strict=True):
        ctx.require(axis, total(ctx.along(a, i, axis), ctx.along(b, j, axis)))
    ctx.contract(summed, batch)
    _set_roles(ctx, a, b, left, right)
    axes = list(batch)
    for value, used in ((a, {*left, *left_batch}), (b, {*right, *right_batch})):
        for i in range(len(value.shape)):
            if i not in used:
                axes.append(value.axes[i])
                weights.append(value.weights[i])
    out = Value(tuple(eqn.outvars[0].aval.shape), tuple(axes), tuple(weights))
    if a.is_raw != b.is_raw:
        num_batch, num_left = len(batch), len(a.shape) - len(left) - len(left_batch)
        middle = num_batch + num_left
        written = range(num_batch, middle) if a.is_raw else range(middle, len(axes))
        ctx.see(out, written, -1)
    return out


@rule("conv_general_dilated")
def convolution(ctx: Interpreter, eqn: Any, x: Value, kernel: Value) -> Value:
    """A convolution is a matrix product over channels; positions are told apart.

    With g groups, channels are a product `[g, channels / g]` on both sides: groups are
    a batch axis, and within each the product runs over its own channels.
    """
    params = eqn.params
    shape = tuple(eqn.outvars[0].aval.shape)
    if params["batch_group_count"] != 1:
        ctx.kill(x, "grouped by examples")
        ctx.kill(kernel, "grouped by examples")
        return ctx.fixed(shape, "grouped by examples")
    numbers = params["dimension_numbers"]
    batch, channels, *places = numbers.lhs_spec
    written, read, *window = numbers.rhs_spec
    out_batch, out_channels, *out_places = numbers.out_spec
    axes: list[Axis] = [None] * len(shape)
    weights: list[Weights] = [()] * len(shape)
    axes[out_batch], weights[out_batch] = x.axes[batch], x.weights[batch]
    for n, (i, k, o) in enumerate(zip(places, window, out_places, strict=True)):
        still = (
            kernel.shape[k] == 1
            and params["window_strides"][n] == 1
            and params["lhs_dilation"][n] == 1
            and tuple(params["padding"][n]) == (0, 0)
        )
        if still:
            axes[o], weights[o] = x.axes[i], x.weights[i]
            continue
        ctx.kill(x, "positions of a convolution", [i])
        ctx.kill(kernel, "positions of a kernel", [k])
        axes[o] = ctx.fresh(o, shape[o], "positions of a convolution")
        weights[o] = ctx.zeros(axes[o])
    text = "cut in two ways, which a convolution joins"
    groups = params["feature_group_count"]
    if groups == 1:
        axis = ctx.unify(x.axes[channels], kernel.axes[read], text)
        ctx.require(
            axis, total(ctx.along(x, channels, axis), ctx.along(kernel, read, axis))
        )
        ctx.contract([axis])
        axes[out_channels] = kernel.axes[written]
        weights[out_channels] = kernel.weights[written]
    else:
        axes[out_channels], weights[out_channels] = _grouped(
            ctx, x, kernel, (channels, written, read), groups
        )
    _set_roles(ctx, x, kernel, [channels], [read])
    out = Value(shape, tuple(axes), tuple(weights))
    if kernel.is_raw and not x.is_raw:
        ctx.see(out, [out_channels], -1)
    return out


@rule("reduce_sum")
def reduce_sum(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A sum does not depend on order; the terms along it must not scale."""
    return _reduced(ctx, eqn, value, lambda weights, _: weights)


@rule("reduce_max", "reduce_min")
def reduce_extremum(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """The largest entry does not depend on order, and bears positive scales only."""

    def keep(weights: Weights, axis: Axis) -> Weights:
        ctx.require(axis, weights, scale=False)
        return replace(weights, keep_scale=True, keep_sign=False)

    return _reduced(ctx, eqn, value, keep)._replace(ties=value.ties)


@rule("reduce_prod")
def reduce_product(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A product of n entries has n times their exponents, in any order."""
    count = 1
    for i in eqn.params["axes"]:
        count *= value.shape[i]
    return _reduced(ctx, eqn, value, lambda w, _: change(w, count, count))._replace(
        ties=value.ties
    )


@rule("reduce_and", "reduce_or", "reduce_xor")
def reduce_bits(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Logical sums do not depend on order."""
    ctx.mute(value)
    return _reduced(ctx, eqn, value, lambda weights, _: weights)


@rule("argmax", "argmin")
def argmax(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """The place of the largest entry is an index into the axis: it moves with it.

    Unless two entries may be equal, as after a ReLU: then the first one wins.
    """
    (i,) = map(int, eqn.params["axes"])
    ctx.mute(value, scale=False)
    out = _reduced(ctx, eqn, value, lambda w, _: replace(w, False, False))
    axis = value.axes[i]
    if axis is None:
        return out
    if value.ties:
        ctx.pin(axis, "of equal entries the first one is taken")
    return out._replace(places=Index(_atoms.find(axis)))


def _reduced(ctx: Interpreter, eqn: Any, value: Value, change_weights: Any) -> Value:
    axes = {int(i) for i in eqn.params["axes"]}
    ctx.mute(value, sorted(axes))
    kept = [i for i in range(len(value.shape)) if i not in axes]
    return Value(
        tuple(value.shape[i] for i in kept),
        tuple(value.axes[i] for i in kept),
        tuple(change_weights(value.weights[i], value.axes[i]) for i in kept),
    )


def _grouped(
    ctx: Interpreter,
    x: Value,
    kernel: Value,
    places: tuple[int, int, int],
    groups: int,
) -> tuple[Axis, Weights]:
    """Join channels of a convolution with groups; return those that it writes."""
    channels, written, read = places
    text = "channels that the groups of a convolution cut through"
    halves = []
    for value, i in ((x, channels), (kernel, written)):
        axis = value.axes[i]
        size = value.shape[i] // groups
        if axis is None or size == 1:
            halves.append((axis, None))
            continue
        parts = ctx.atoms.refine(axis, "product", [groups, size], ctx.reason(text))
        if parts is None:
            ctx.kill(x, text, [channels])
            ctx.kill(kernel, text, [written, read])
            out = ctx.fresh("grouped", kernel.shape[written], text)
            return out, ctx.zeros(out)
        halves.append((parts[0], parts[1]))
    (x_group, x_within), (out_group, out_within) = halves
    group = ctx.unify(x_group, out_group, text)
    within = ctx.unify(x_within, kernel.axes[read], text)
    ctx.contract([within], [group])
    x_by_group, x_by_within = _halved(ctx, x, channels, group, within)
    out_by_group, out_weights = _halved(ctx, kernel, written, group, out_within)
    ctx.require(within, total(x_by_within, ctx.along(kernel, read, within)))
    parts = [group, out_within]
    if kernel.axes[written] is None and group is not None:
        parts[1] = ctx.fresh("within", kernel.shape[written] // groups)
        out_weights = ctx.zeros(parts[1])
    if group is None:
        return kernel.axes[written], kernel.weights[written]
    axis = ctx.atoms.product([part for part in parts if part is not None])
    return axis, total(out_by_group, x_by_group) + out_weights


def _halved(
    ctx: Interpreter, value: Value, i: int, group: Axis, within: Axis
) -> tuple[Weights, Weights]:
    """Return the exponents of channels along groups and within them."""
    own = value.axes[i]
    if not ctx.is_final:
        return (), ()
    count = len(_atoms.leaves(group))
    if own is not None:
        if _atoms.leaves(own) == _atoms.leaves(group) + _atoms.leaves(within):
            return value.weights[i][:count], value.weights[i][count:]
        ctx.require(own, value.weights[i])
    return ctx.zeros(group), ctx.zeros(within)


def _set_roles(ctx: Interpreter, a: Value, b: Value, left: Any, right: Any) -> None:
    """A parameter reads what it is contracted with, and writes its other axes.

    Of two parameters, the first one writes what the second one reads.
    """
    if b.is_raw:
        ctx.set_role(b, right, -1)
        if not a.is_raw:
            ctx.see(a, left, 0)
    elif a.is_raw:
        ctx.set_role(a, left, -1)
        ctx.see(b, right, 1)
    for value in (a, b):
        ctx.set_role(value, range(len(value.axes)), 1)
