"""Rules of operations that move entries without changing them."""

from collections.abc import Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Atom, Axis
from symmerge_jax.tracing._exponents import ZERO
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Index, Value, Weights


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
    return _picked(value, eqn.params["permutation"])


@rule("squeeze", indices=True)
def squeeze(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """Axes of one index fall away."""
    gone = {i % len(value.shape) for i in eqn.params["dimensions"]}
    return _picked(value, [i for i in range(len(value.shape)) if i not in gone])


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
    shape = tuple(eqn.outvars[0].aval.shape)
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
            return reshape(ctx, eqn, solid)
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


@rule("concatenate", indices=True)
def concatenate(ctx: Interpreter, eqn: Any, *values: Value) -> Value:
    """What lies side by side stays side by side; other axes behave as in a sum."""
    return _beside(ctx, eqn, values, int(eqn.params["dimension"]))


@rule("stack", indices=True)
def stack(ctx: Interpreter, eqn: Any, *values: Value) -> Value:
    """To stack is to concatenate along a new axis."""
    i = int(eqn.params["axis"]) % len(eqn.outvars[0].aval.shape)
    expanded = []
    for value in values:
        parts = (value.shape, 1), (value.axes, None), (value.weights, ())
        expanded.append(value.moved(*((*x[:i], new, *x[i:]) for x, new in parts)))
    return _beside(ctx, eqn, expanded, i)


@rule("unstack", indices=True)
def unstack(ctx: Interpreter, eqn: Any, value: Value) -> list[Value]:
    """To unstack is to tell the indices of an axis apart."""
    i = int(eqn.params["axis"]) % len(value.shape)
    ctx.kill(value, "unstacked", [i])
    rest = [j for j in range(len(value.shape)) if j != i]
    return [_picked(value, rest)] * value.shape[i]


@rule("pad")
def pad(ctx: Interpreter, eqn: Any, value: Value, filling: Value) -> Value:
    """An axis between two paddings is a concatenation, if the padding is 0.

    Zeros scale as one likes and may be permuted. Along an axis that is pinned already,
    with other fillings, or if entries are taken away or spread, all is pinned.
    """
    text = "padded"
    shape = tuple(eqn.outvars[0].aval.shape)
    if not filling.is_zero:
        ctx.mute(value)
    if 0 in value.shape or 0 in shape:
        ctx.kill(value, text)
        return ctx.fixed(shape, text)
    for i, config in enumerate(eqn.params["padding_config"]):
        low, high, inner = (int(n) for n in config)
        if (low, high, inner) == (0, 0, 0):
            continue
        size = value.shape[i] + max(low, 0) + max(high, 0)
        is_free = filling.is_zero and min(low, high) >= 0 and inner == 0
        axis = value.axes[i]
        if is_free and axis is not None and not _atoms.is_pinned(axis):
            value = _padded(ctx, value, i, low, high)
            continue
        ctx.kill(value, text, [i])
        new = ctx.fresh(("padded", i), shape[i], text)
        size = shape[i]
        value = with_axis(value, i, size, new, ctx.zeros(new))
    return value._replace(constant=None, is_raw=False)


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
    axes[i] = ctx.fresh("iota", shape[i])
    value = ctx.value(shape, axes)
    if axes[i] is None:
        return value._replace(constant=0)
    return value._replace(index=Index(_atoms.find(axes[i])))


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


def _beside(ctx: Interpreter, eqn: Any, values: Sequence[Value], along: int) -> Value:
    shape = tuple(eqn.outvars[0].aval.shape)
    values = tuple(v for v in values if v.shape[along]) or values[:1]
    if len(values) == 1:
        return values[0]
    index = ctx.same_index(values) if any(v.index for v in values) else None
    return side_by_side(ctx, values, along, shape)._replace(
        index=index,
        ties=any(v.ties for v in values),
        is_raw=all(v.is_raw for v in values),
    )


def side_by_side(
    ctx: Interpreter, values: Sequence[Value], along: int, shape: tuple[int, ...]
) -> Value:
    """Return values side by side along an axis; those that are 0 scale as one likes."""
    text = "cut in two ways, which concatenate joins"
    axes: list[Axis] = [None] * len(shape)
    weights: list[Weights] = [()] * len(shape)
    for i in range(len(shape)):
        if i == along:
            continue
        for value in values:
            axes[i] = ctx.unify(axes[i], value.axes[i], text)
    for value in values:
        others = [i for i in range(len(shape)) if i != along]
        ctx.set_role(value, () if all(v.is_raw for v in values) else others, 1)
    moving = [v for v in values if not v.is_zero] or values[:1]
    for i, axis in enumerate(axes):
        if i == along:
            continue
        weights[i] = ctx.along(moving[0], i, axis)
        for value in moving[1:]:
            ctx.demand_equal(axis, weights[i], ctx.along(value, i, axis))
    pieces: list[Atom] = []
    sequence: list[tuple[Atom, Any]] = []
    for n, value in enumerate(values):
        piece = value.axes[along]
        own = value.weights[along]
        if piece is None:
            size = value.shape[along]
            alone = "one index beside others" if size == 1 else None
            piece = ctx.piece((along, n), size, alone)
            own = ctx.unknowns(piece) if value.is_zero else ctx.zeros(piece)
        pieces.append(piece)
        sequence += zip(_atoms.leaves(piece), own, strict=False)
    axes[along] = ctx.keep((along, "joined"), ctx.atoms.concatenation(pieces))
    weights[along] = regroup(ctx, sequence, axes[along])
    return Value(shape, tuple(axes), tuple(weights))


def regroup(
    ctx: Interpreter, sequence: Sequence[tuple[Atom, Any]], axis: Axis
) -> Weights:
    """Return exponents of atoms side by side for the axis that they have become.

    Pieces that have become one atom times their count must scale alike.
    """
    if not ctx.is_final:
        return ()
    now = _atoms.leaves(axis)
    before = [leaf for leaf, _ in sequence]
    weights = tuple(weight for _, weight in sequence)
    if before == now:
        return weights
    for start in range(1, len(now)):
        piece = now[start:]
        count, rest = divmod(len(before), len(piece))
        if rest or before != piece * count:
            continue
        first = weights[: len(piece)]
        for k in range(1, count):
            again = weights[k * len(piece) : (k + 1) * len(piece)]
            for leaf, x, y in zip(piece, first, again, strict=True):
                ctx.demand_equal(leaf, (x,), (y,))
        return (ZERO,) * start + first
    for leaf, weight in sequence:
        ctx.require(leaf, (weight,))
    return ctx.zeros(axis)


def _picked(value: Value, order: Sequence[int]) -> Value:
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


def _padded(ctx: Interpreter, value: Value, i: int, low: int, high: int) -> Value:
    def resized(size: int) -> tuple[int, ...]:
        return (*value.shape[:i], size, *value.shape[i + 1 :])

    def zeros(size: int) -> list[Value]:
        zero = ctx.value(resized(size), [None] * len(value.shape))
        return [zero._replace(constant=0)] if size else []

    shape = resized(low + value.shape[i] + high)
    return side_by_side(ctx, [*zeros(low), value, *zeros(high)], i, shape)._replace(
        ties=True
    )
