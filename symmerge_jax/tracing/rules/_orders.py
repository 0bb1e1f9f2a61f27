"""Rules of operations along an ordered axis: windows, running sums, sorting."""

from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value
from symmerge_jax.tracing._weights import Weights, replace
from symmerge_jax.tracing.rules._shapes import with_axis


@rule("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def window(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A window tells positions apart; other axes behave as in a sum or maximum."""
    params = eqn.params
    settings = zip(
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params["base_dilation"],
        params["window_dilation"],
        strict=True,
    )
    for i, (size, stride, padding, base, _) in enumerate(settings):
        if (size, stride, base) != (1, 1, 1) or tuple(padding) != (0, 0):
            value = _told_apart(ctx, value, i, eqn.outvars[0].aval.shape[i])
    is_sum = eqn.primitive.name == "reduce_window_sum"
    return _ordered(ctx, value, is_sum)


@rule("cumsum", "cummax", "cummin")
def running(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A running sum or maximum tells positions apart along its axis alone."""
    i = int(eqn.params["axis"])
    value = _told_apart(ctx, value, i, value.shape[i])
    return _ordered(ctx, value, eqn.primitive.name == "cumsum")


@rule("cumprod", "cumlogsumexp")
def running_product(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Entries of a running product have as many factors as positions: no scale fits."""
    i = int(eqn.params["axis"])
    ctx.mute(value)
    value = _told_apart(ctx, value, i, value.shape[i])
    weights = tuple(ctx.zeros(axis) for axis in value.axes)
    return Value(value.shape, value.axes, weights)


@rule("fft")
def fourier(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A Fourier transform is linear, and tells positions apart along its axes."""
    shape = eqn.outvars[0].aval.shape
    count = len(eqn.params["fft_lengths"])
    for i in range(len(shape) - count, len(shape)):
        value = _told_apart(ctx, value, i, shape[i])
    return _ordered(ctx, value, is_sum=True)


@rule("sort", indices=True)
def sort(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """What is sorted has an order of its own, whatever the order was before.

    What is carried along keeps its entries: indices remain indices. Keys must not
    scale along the axis; along others they bear positive scales. Where keys may be
    equal, what is carried along depends on the order before, and the axis is pinned.
    """
    i, count = int(eqn.params["dimension"]), eqn.params["num_keys"]
    keys = [ctx.as_numbers(value) for value in values[:count]]
    values = (*keys, *values[count:])
    shape = values[0].shape
    axes: list[Axis] = [None] * len(shape)
    text = "cut in two ways, which sort joins"
    for value in values:
        axes = [ctx.unify(a, b, text) for a, b in zip(axes, value.axes, strict=True)]
    if len(values) > count and all(key.ties for key in keys):
        ctx.pin(axes[i], "of equal entries the first one is taken")
    rank = ctx.fresh("rank", shape[i], "sorted") if axes[i] is not None else None
    results = []
    for n, value in enumerate(values):
        ctx.mute(value, [i])
        ctx.set_role(value, range(len(shape)), 1)
        weights = [ctx.along(value, j, axis) for j, axis in enumerate(axes)]
        if n < count:
            for axis, weight in zip(axes, weights, strict=True):
                ctx.require(axis, weight, scale=False)
            weights = [replace(w, keep_scale=True, keep_sign=False) for w in weights]
        weights[i] = ctx.zeros(rank)
        new = [rank if j == i else axis for j, axis in enumerate(axes)]
        results.append(
            Value(shape, tuple(new), tuple(weights), None, value.places, value.ties)
        )
    return results


@rule("top_k", "approx_top_k")
def top_k(ctx: Interpreter, eqn: Any, value: Value) -> list[Value]:
    """The largest entries have an order of their own; their places are indices."""
    shape = tuple(eqn.outvars[0].aval.shape)
    i = eqn.params.get("axis", eqn.params.get("reduction_dimension", -1)) % len(shape)
    axis = value.axes[i]
    ctx.mute(value, [i])
    ctx.mute(value, scale=False)
    rank = ctx.fresh("rank", shape[i], "sorted") if axis is not None else None
    weights = tuple(replace(w, keep_scale=True, keep_sign=False) for w in value.weights)
    largest = with_axis(
        value._replace(weights=weights, is_raw=False, constant=None),
        i,
        shape[i],
        rank,
        ctx.zeros(rank),
    )
    if axis is None:  # all are equal: the first ones are taken
        counted = ctx.fresh("first", shape[i], "counted")
        axes = [counted if j == i else None for j in range(len(shape))]
        return [largest, ctx.value(shape, axes)]
    if value.ties or eqn.primitive.name != "top_k":
        ctx.pin(axis, "of equal entries the first one is taken")
    places = ctx.value(shape, largest.axes)
    return [largest, places._replace(places=Index(_atoms.find(axis)))]


def _told_apart(ctx: Interpreter, value: Value, i: int, size: int) -> Value:
    """Return a value with a new axis of positions in the place of an old one."""
    text = "positions are told apart"
    ctx.kill(value, text, [i])
    if value.axes[i] is None:  # constant: but what comes out need not be
        text = "counted"
    new = ctx.fresh(i, size, text)
    return with_axis(value, i, size, new, ctx.zeros(new))


def _ordered(ctx: Interpreter, value: Value, is_sum: bool) -> Value:
    weights: tuple[Weights, ...] = value.weights
    if not is_sum:
        ctx.mute(value, scale=False)
        weights = tuple(replace(w, keep_scale=True, keep_sign=False) for w in weights)
    return Value(value.shape, value.axes, weights, ties=value.ties and not is_sum)
