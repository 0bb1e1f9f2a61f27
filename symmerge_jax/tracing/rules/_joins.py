"""Rules of operations that lay values side by side along an axis."""

from collections.abc import Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Atom, Axis
from symmerge_jax.tracing._exponents import ZERO
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Value
from symmerge_jax.tracing._weights import Weights
from symmerge_jax.tracing.rules._shapes import picked, with_axis


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
        expanded.append(
            value.moved(
                (*value.shape[:i], 1, *value.shape[i:]),
                (*value.axes[:i], None, *value.axes[i:]),
                (*value.weights[:i], (), *value.weights[i:]),
            )
        )
    return _beside(ctx, eqn, expanded, i)


@rule("unstack", indices=True)
def unstack(ctx: Interpreter, eqn: Any, value: Value) -> list[Value]:
    """To unstack is to tell the indices of an axis apart."""
    i = int(eqn.params["axis"]) % len(value.shape)
    ctx.kill(value, "unstacked", [i])
    rest = [j for j in range(len(value.shape)) if j != i]
    return [picked(value, rest)] * value.shape[i]


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


def _beside(ctx: Interpreter, eqn: Any, values: Sequence[Value], along: int) -> Value:
    shape = tuple(eqn.outvars[0].aval.shape)
    values = tuple(v for v in values if v.shape[along]) or values[:1]
    if len(values) == 1:
        return values[0]
    index = ctx.same_index(values) if any(v.places for v in values) else None
    return side_by_side(ctx, values, along, shape)._replace(
        places=index,
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
