"""Rules of operations that move entries without changing them."""

from collections.abc import Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._exponents import ZERO
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value
from symmerge_jax.tracing._weights import Weights


@rule("broadcast_in_dim", indices=True)
def broadcast(ctx: Interpreter, eqn: Any, value: Value, *_: Value) -> Value:
    """A value is constant along the axes that it is broadcast to."""
    shape = tuple(eqn.outvars[0].aval.shape)
    axes: list[Axis] = [None] * len(shape)
    weights: list[Weights] = [()] * len(shape)
    for i, o in enumerate(eqn.params["broadcast_dimensions"]):
        if value.shape[i] == shape[o]:
            axes[o], weights[o] = value.axes[i], value.weights[i]
    return value.moved(shape, axes, weights)


@rule("transpose", indices=True)
def transpose(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Axes change places."""
    return picked(value, eqn.params["permutation"])


@rule("squeeze", indices=True)
def squeeze(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Axes of one index fall away."""
    gone = {i % len(value.shape) for i in eqn.params["dimensions"]}
    return picked(value, [i for i in range(len(value.shape)) if i not in gone])


@rule("expand_dims", indices=True)
def expand(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Axes of one index come in."""
    shape = tuple(eqn.outvars[0].aval.shape)
    new = {i % len(shape) for i in eqn.params["dimensions"]}
    axes, weights = iter(value.axes), iter(value.weights)
    return value.moved(
        shape,
        [None if i in new else next(axes) for i in range(len(shape))],
        [() if i in new else next(weights) for i in range(len(shape))],
    )


@rule("reshape", indices=True)
def reshape(ctx: Interpreter, eqn: Any, value: Value, *_: Value) -> Value:
    """The atoms stay in their row-major order; only the brackets change.

    Where the new axes cut through an axis, it is cut into a product as well. An axis
    that is pinned in all its pieces need not be cut: it becomes new places.
    """
    return _reshaped(ctx, tuple(eqn.outvars[0].aval.shape), value)


def _reshaped(ctx: Interpreter, shape: tuple[int, ...], value: Value) -> Value:
    if value.constant is not None or 0 in shape:
        return value.moved(shape, [None] * len(shape), [()] * len(shape))
    text = "a reshape cuts through it"
    queue = [
        (size, axis)
        for size, axis in zip(value.shape, value.axes, strict=True)
        if size != 1
    ][::-1]
    axes: list[Axis] = []
    for o, size in enumerate(shape):
        parts = _take(ctx, queue, size, text)
        if parts is None and (solid := _solid(ctx, value, text)) is not value:
            return _reshaped(ctx, shape, solid)
        if parts is None:
            ctx.kill(value, text)
            ctx.as_numbers(value)
            return ctx.fixed(shape, text)
        if all(axis is None for _, axis in parts):
            axes.append(None)
            continue
        axes.append(
            ctx.atoms.product(
                ctx.piece((o, i), n) if axis is None else axis
                for i, (n, axis) in enumerate(parts)
            )
        )
    return value.moved(shape, axes, _spread(ctx, value, axes))


@rule("tile")
def tile(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A repeated axis is a product with one along which the value is constant."""
    for i, count in enumerate(eqn.params["reps"]):
        axis, size = value.axes[i], value.shape[i]
        if count == 1:
            continue
        if axis is None:
            value = with_axis(value, i, size * count, None, ())
            continue
        copies = ctx.piece(i, count)
        weights = ctx.zeros(copies) + value.weights[i]
        axis = ctx.atoms.product([copies, axis])
        value = with_axis(value, i, size * count, axis, weights)
    return value


@rule("iota", indices=True)
def iota(ctx: Interpreter, eqn: Any, *_: Value) -> Value:
    """Counting gives every index its own place: indices into the axis along itself.

    So it moves with the axis, as long as the entries are used as indices only.
    """
    shape = tuple(eqn.outvars[0].aval.shape)
    i = int(eqn.params["dimension"])
    axes: list[Axis] = [None] * len(shape)
    counted = axes[i] = ctx.fresh("iota", shape[i])
    value = ctx.value(shape, axes)
    if counted is None:
        return value._replace(constant=0)
    return value._replace(places=Index(counted))


@rule("rev")
def reverse(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Turning an axis round tells its indices apart."""
    for i in map(int, eqn.params["dimensions"]):
        if value.axes[i] is None:
            continue
        ctx.kill(value, "reversed", [i])
        new = ctx.fresh(i, value.shape[i], "reversed")
        value = with_axis(value, i, value.shape[i], new, ctx.zeros(new))
    return value


def picked(value: Value, order: Sequence[int]) -> Value:
    """Return a value with these of its axes, in this order."""
    return value.moved(
        [value.shape[i] for i in order],
        [value.axes[i] for i in order],
        [value.weights[i] for i in order],
    )


def with_axis(value: Value, i: int, size: int, axis: Axis, weights: Weights) -> Value:
    """Return a value with another axis."""
    shape, axes = list(value.shape), list(value.axes)
    all_weights = list(value.weights)
    shape[i], axes[i], all_weights[i] = size, axis, weights
    return value.moved(shape, axes, all_weights)


def _solid(ctx: Interpreter, value: Value, text: str) -> Value:
    """Return a value whose pinned axes in pieces are axes of one piece instead."""
    for i, axis in enumerate(value.axes):
        if axis is not None and _atoms.find(axis).kind and _atoms.is_pinned(axis):
            ctx.kill(value, text, [i])
            new = ctx.fresh(("solid", i), value.shape[i], text)
            value = with_axis(value, i, value.shape[i], new, ctx.zeros(new))
    return value


def _take(
    ctx: Interpreter, queue: list[tuple[int, Axis]], size: int, text: str
) -> list[tuple[int, Axis]] | None:
    """Take as many axes from the end of a queue as make up a size; cut the last one.

    Returns:
      Sizes and axes; None if an axis cannot be cut so.
    """
    parts: list[tuple[int, Axis]] = []
    missing = size
    while missing > 1:
        n, axis = queue.pop()
        if missing % n == 0:
            parts.append((n, axis))
            missing //= n
            continue
        if n % missing:
            return None
        sizes = [missing, n // missing]
        cut: Sequence[Axis] | None = [None, None]
        if axis is not None:
            cut = ctx.atoms.refine(axis, "product", sizes, ctx.reason(text))
        if cut is None:
            return None
        parts.append((missing, cut[0]))
        queue.append((sizes[1], cut[1]))
        missing = 1
    return parts


def _spread(ctx: Interpreter, value: Value, axes: Sequence[Axis]) -> list[Weights]:
    """Return the exponents of a value whose axes are bracketed anew."""
    if not ctx.is_final:
        return [()] * len(axes)
    before = [
        pair
        for axis, weights in zip(value.axes, value.weights, strict=True)
        for pair in zip(_atoms.leaves(axis), weights, strict=True)
    ][::-1]
    spread: list[Weights] = []
    for axis in axes:
        weights = []
        for leaf in _atoms.leaves(axis):
            if before and before[-1][0] is leaf:
                weights.append(before.pop()[1])
            else:
                weights.append(ZERO)  # an atom along which the value is constant
        spread.append(tuple(weights))
    if before:
        ctx.mute(value)
        return [ctx.zeros(axis) for axis in axes]
    return spread
