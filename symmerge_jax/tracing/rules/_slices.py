"""Rules of slices and splits: they cut an axis into pieces that lie side by side."""

from collections.abc import Sequence
from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Atom, Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Value
from symmerge_jax.tracing._weights import Weights
from symmerge_jax.tracing.rules._shapes import with_axis


@rule("split", indices=True)
def split(ctx: Interpreter, eqn: Any, value: Value) -> list[Value]:
    """An axis is its pieces side by side."""
    i, sizes = int(eqn.params["axis"]), [int(n) for n in eqn.params["sizes"]]
    pieces = _cut(ctx, value, i, sizes)
    return [
        with_axis(value, i, size, axis, weights)
        for size, (axis, weights) in zip(sizes, pieces, strict=True)
    ]


@rule("slice", indices=True)
def slice_(ctx: Interpreter, eqn: Any, value: Value) -> Value:
    """A slice is one of the pieces that it cuts an axis into.

    One index alone is told apart from all others, unless the axis is cut around it by
    something else. Every k-th index of an axis is one column of a product `[n / k, k]`.
    """
    params = eqn.params
    strides = params["strides"] or (1,) * len(value.shape)
    for i, (start, stop, step) in enumerate(
        zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    ):
        size = value.shape[i]
        axis = value.axes[i]
        if (start, stop, step) == (0, size, 1):
            continue
        new_size = eqn.outvars[0].aval.shape[i]
        new: Axis = None
        weights: Weights = ()
        if axis is not None and new_size:
            if step != 1:
                new, weights = _strided(ctx, value, i, (start, step), new_size)
            elif new_size == 1:
                _single(ctx, value, i, start)
            else:
                sizes = [n for n in (start, new_size, size - stop) if n]
                new, weights = _cut(ctx, value, i, sizes)[1 if start else 0]
        value = with_axis(value, i, new_size, new, weights)
    return value


def _cut(
    ctx: Interpreter, value: Value, i: int, sizes: Sequence[int]
) -> list[tuple[Axis, Weights]]:
    """Return axes and exponents of pieces; what cannot be cut is killed."""
    axis = value.axes[i]
    if axis is None:
        return [(None, ())] * len(sizes)
    text = "cut in two ways, which a slice joins"
    parts = None
    if not _is_settled(axis) and all(sizes):
        parts = ctx.atoms.refine(axis, "concatenation", sizes, ctx.reason(text))
    if parts is None:
        ctx.kill(value, "sliced", [i])
        fresh = [ctx.fresh((i, n), size, "sliced") for n, size in enumerate(sizes)]
        return [(part, ctx.zeros(part)) for part in fresh]
    all_weights = _weights_of_pieces(ctx, value, i, parts)
    pieces: list[tuple[Axis, Weights]] = []
    for size, part, weights in zip(sizes, parts, all_weights, strict=True):
        if size > 1:
            pieces.append((part, weights))
            continue
        ctx.pin(part, "one index beside others")
        ctx.require(part, weights)
        pieces.append((None, ()))
    return pieces


def _weights_of_pieces(
    ctx: Interpreter, value: Value, i: int, parts: Sequence[Atom]
) -> list[Weights]:
    """Return the exponents of the pieces that an axis was cut into."""
    if not ctx.is_final:
        return [()] * len(parts)
    now, weights = _atoms.leaves(value.axes[i]), value.weights[i]
    inside = [_atoms.leaves(part) for part in parts]
    if [leaf for piece in inside for leaf in piece] == now:
        found, start = [], 0
        for piece in inside:
            found.append(weights[start : start + len(piece)])
            start += len(piece)
        return found
    count = len(now) - len(inside[0])
    if count > 0 and all(piece == now[count:] for piece in inside):
        for leaf, weight in zip(now[:count], weights[:count], strict=True):
            ctx.require(leaf, (weight,))
        return [weights[count:]] * len(parts)
    ctx.mute(value, [i])
    return [ctx.zeros(part) for part in parts]


def _single(ctx: Interpreter, value: Value, i: int, start: int) -> None:
    """Tell one index apart: its piece if it is one, else the whole axis.

    Whether something else cuts the axis there is known from the second pass on.
    """
    axis = value.axes[i]
    assert axis is not None
    if ctx.num_passes == 1:
        return
    size = value.shape[i]
    if not _is_cut_at(axis, start):
        ctx.kill(value, "indexed", [i])
        return
    sizes = [n for n in (start, 1, size - start - 1) if n]
    _cut(ctx, value, i, sizes)[1 if start else 0]


def _strided(
    ctx: Interpreter, value: Value, i: int, place: tuple[int, int], new_size: int
) -> tuple[Axis, Weights]:
    start, step = place
    axis = value.axes[i]
    assert axis is not None
    parts = None
    if start < step and new_size * step == value.shape[i] and not _is_settled(axis):
        reason = ctx.reason("sliced by steps")
        sizes = [new_size, step]
        parts = (
            ctx.atoms.refine(axis, "product", sizes, reason) if new_size > 1 else None
        )
    if parts is None:
        ctx.kill(value, "sliced by steps", [i])
        new = ctx.fresh(i, new_size, "sliced by steps")
        return new, ctx.zeros(new)
    kept, column = parts
    ctx.pin(column, "one index beside others")
    if not ctx.is_final:
        return kept, ()
    count = len(_atoms.leaves(kept))
    weights = value.weights[i]
    if _atoms.leaves(axis) != _atoms.leaves(kept) + _atoms.leaves(column):
        ctx.mute(value, [i])
        return kept, ctx.zeros(kept)
    ctx.require(column, weights[count:])
    return kept, weights[:count]


def _is_settled(axis: Atom) -> bool:
    """Return whether an axis is one pinned atom, which nothing is gained by cutting."""
    root = _atoms.find(axis)
    return root.kind is None and bool(root.pinned)


def _is_cut_at(axis: Atom, start: int) -> bool:
    """Return whether an axis has cuts around one index."""
    root = _atoms.find(axis)
    if root.kind != "concatenation":
        return False
    cuts = [0]
    for leaf in _pieces(root):
        cuts.append(cuts[-1] + leaf.size)
    return start in cuts and start + 1 in cuts


def _pieces(axis: Atom) -> list[Atom]:
    root = _atoms.find(axis)
    if root.kind != "concatenation":
        return [root]
    return [piece for part in root.parts for piece in _pieces(part)]
