"""Rules of reading and writing by index.

An axis that is looked up by numbers is pinned, and scales with nothing. Looked up by
indices into it, it may be permuted: the indices move with it.
"""

from typing import Any

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Value
from symmerge_jax.tracing._weights import Weights, replace, total
from symmerge_jax.tracing.rules._shapes import with_axis


@rule("gather", indices=True)
def gather(ctx: Interpreter, eqn: Any, value: Value, where: Value) -> Value:
    """Windows of a value: axes that are in them whole stay, others are looked up."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape = tuple(eqn.outvars[0].aval.shape)
    value = ctx.as_numbers(value)
    looked_up = [int(i) for i in numbers.start_index_map]
    is_index = _points_into(where, looked_up, value, sizes)
    if not is_index:
        where = ctx.as_numbers(where)
    ctx.kill(where, "looked up", [len(where.shape) - 1])
    batching = list(numbers.operand_batching_dims)
    paired = dict(zip(batching, numbers.start_indices_batching_dims, strict=True))
    windows = [
        i for i in range(len(value.shape)) if i not in numbers.collapsed_slice_dims
    ]
    offsets = dict(
        zip([i for i in windows if i not in paired], numbers.offset_dims, strict=True)
    )
    batch_places = [o for o in range(len(shape)) if o not in numbers.offset_dims]
    axes: list[Axis] = [None] * len(shape)
    weights: list[Weights] = [()] * len(shape)
    for j, o in enumerate(batch_places):
        axes[o], weights[o] = where.axes[j], where.weights[j]
    for i, j in paired.items():
        o = batch_places[j]
        axes[o] = ctx.unify(where.axes[j], value.axes[i], "looked up side by side")
        weights[o] = ctx.along(value, i, axes[o])
    ctx.set_role(value, looked_up, -1)
    if not is_index:  # of an embedding; parameters of chosen experts are still raw
        ctx.set_role(value, range(len(value.axes)), 1)
    for i in range(len(value.shape)):
        if i in paired:
            continue
        if sizes[i] == value.shape[i] and i not in looked_up:
            if i in offsets:
                axes[offsets[i]], weights[offsets[i]] = value.axes[i], value.weights[i]
            continue
        if is_index:
            assert where.places is not None
            axis = ctx.unify(value.axes[i], where.places.axis, "looked up")
            ctx.mute(value, [i])
            ctx.contract([axis], [axes[batch_places[j]] for j in paired.values()])
            continue
        ctx.kill(value, "looked up", [i])
        if i in offsets:
            axes[offsets[i]] = ctx.fresh(i, shape[offsets[i]], "looked up")
            weights[offsets[i]] = ctx.zeros(axes[offsets[i]])
    filling = eqn.params.get("fill_value")
    if "FILL" in str(eqn.params.get("mode")) and not _is_neutral(filling):
        ctx.mute(value)
    is_raw = is_index and value.is_raw
    return Value(shape, tuple(axes), tuple(weights), ties=value.ties, is_raw=is_raw)


@rule("dynamic_slice", indices=True)
def dynamic_slice(ctx: Interpreter, eqn: Any, value: Value, *starts: Value) -> Value:
    """A window at a place that is computed: the axes in it whole stay."""
    sizes = eqn.params["slice_sizes"]
    value = ctx.as_numbers(value)
    for i, size in enumerate(sizes):
        start, axis = starts[i], value.axes[i]
        if size == value.shape[i]:
            continue
        if size == 1 and _points_into(start, [i], value, sizes):
            assert start.places is not None
            joined = ctx.unify(axis, start.places.axis, "looked up")
            ctx.mute(value, [i])
            ctx.contract([joined])
            value = with_axis(value, i, 1, None, ())
            continue
        ctx.as_numbers(start)
        ctx.kill(value, "looked up", [i])
        new = None if axis is None else ctx.fresh(i, size, "looked up")
        value = with_axis(value, i, size, new, ctx.zeros(new))
    return value


@rule("dynamic_update_slice")
def dynamic_update(
    ctx: Interpreter, eqn: Any, value: Value, update: Value, *_: Value
) -> Value:
    """A window is overwritten: along axes that it covers whole, both are one."""
    partial = [i for i, n in enumerate(value.shape) if update.shape[i] != n]
    return _written(ctx, value, update, partial)


@rule(
    "scatter",
    "scatter_add",
    "scatter_sub",
    "scatter_mul",
    "scatter_min",
    "scatter_max",
    indices=True,
)
def scatter(
    ctx: Interpreter, eqn: Any, value: Value, where: Value, update: Value
) -> Value:
    """Windows are written or added at places that are looked up.

    Rows that are added may come in any order, if their places come with them; of rows
    that overwrite each other the order counts.
    """
    numbers = eqn.params["dimension_numbers"]
    value, update = ctx.as_numbers(value), ctx.as_numbers(update)
    kind = eqn.primitive.name.replace("-", "_").removeprefix("scatter").strip("_")
    paired = dict(
        zip(
            numbers.operand_batching_dims,
            numbers.scatter_indices_batching_dims,
            strict=True,
        )
    )
    looked_up = [int(i) for i in numbers.scatter_dims_to_operand_dims]
    inserted = set(numbers.inserted_window_dims)
    windows = [i for i in range(len(value.shape)) if i not in inserted | set(paired)]
    offsets = dict(zip(windows, numbers.update_window_dims, strict=True))
    sizes = [
        update.shape[offsets[i]] if i in offsets else 1 for i in range(len(value.shape))
    ]
    is_index = _points_into(where, looked_up, value, sizes)
    if not is_index:
        where = ctx.as_numbers(where)
    ctx.kill(where, "looked up", [len(where.shape) - 1])
    rows = [j for j in range(len(update.shape)) if j not in numbers.update_window_dims]
    order_counts = kind == "" and not eqn.params.get("unique_indices")
    text = "rows of a scatter"
    batch: dict[int, Axis] = {}
    for j, u in enumerate(rows):
        batch[j] = ctx.unify(where.axes[j], update.axes[u], text)
        if j not in paired.values():
            ctx.mute(update, [u])
            if order_counts:
                ctx.pin(batch[j], "rows that may overwrite each other")
    if kind == "mul":
        ctx.mute(value)
        ctx.mute(update)
    elif kind in ("min", "max"):
        ctx.mute(value, scale=False)
        ctx.mute(update, scale=False)
    axes: list[Axis] = list(value.axes)
    weights: list[Weights] = list(value.weights)
    summed: list[Axis] = [a for j, a in batch.items() if j not in paired.values()]
    for i in range(len(value.shape)):
        if i in paired:
            u = rows[paired[i]]
            axes[i] = ctx.unify(value.axes[i], batch[paired[i]], text)
            weights[i] = _agreed(
                ctx, axes[i], (value, i), (update, u), kind in ("min", "max")
            )
        elif i in offsets and sizes[i] == value.shape[i] and i not in looked_up:
            axes[i] = ctx.unify(value.axes[i], update.axes[offsets[i]], text)
            weights[i] = _agreed(
                ctx, axes[i], (value, i), (update, offsets[i]), kind in ("min", "max")
            )
        elif is_index:
            assert where.places is not None
            axes[i] = ctx.unify(value.axes[i], where.places.axis, text)
            ctx.mute(value, [i])
            summed.append(axes[i])
            weights[i] = ctx.zeros(axes[i])
        else:
            ctx.kill(value, "looked up", [i])
            if i in offsets:
                ctx.kill(update, "looked up", [offsets[i]])
            axes[i] = ctx.fresh(i, value.shape[i], "looked up")
            weights[i] = ctx.zeros(axes[i])
    ctx.contract(summed, [axes[i] for i in paired])
    ctx.set_role(value, range(len(value.axes)), 1)
    ctx.set_role(update, range(len(update.axes)), 1)
    if kind in ("min", "max"):
        weights = [replace(w, keep_scale=True, keep_sign=False) for w in weights]
    elif kind == "mul":
        weights = [ctx.zeros(axis) for axis in axes]
    return Value(value.shape, tuple(axes), tuple(weights), ties=True)


def _written(
    ctx: Interpreter, value: Value, update: Value, partial: list[int]
) -> Value:
    axes: list[Axis] = []
    weights: list[Weights] = []
    for i in range(len(value.shape)):
        if i in partial:
            ctx.kill(value, "overwritten in part", [i])
            ctx.kill(update, "overwritten in part", [i])
            axes.append(ctx.fresh(i, value.shape[i], "overwritten in part"))
            weights.append(ctx.zeros(axes[i]))
            continue
        text = "cut in two ways, which a write joins"
        axes.append(ctx.unify(value.axes[i], update.axes[i], text))
        weights.append(_agreed(ctx, axes[i], (value, i), (update, i)))
    for part in (value, update):
        ctx.set_role(part, range(len(part.axes)), 1)
    ties = value.ties or update.ties
    return Value(value.shape, tuple(axes), tuple(weights), ties=ties)


def _agreed(
    ctx: Interpreter,
    axis: Axis,
    a: tuple[Value, int],
    b: tuple[Value, int],
    infinity: bool = False,
) -> Weights:
    """Demand that two values scale alike along an axis; 0 scales as one likes.

    So does an infinity, if the caller says so, by positive scales.
    """
    weights = [
        ctx.along(value, i, axis)
        for value, i in (a, b)
        if not (value.is_zero or (infinity and value.is_infinite))
    ]
    if len(weights) == 2:
        ctx.require(axis, total(weights[0], weights[1], -1))
    return weights[0] if weights else ctx.zeros(axis)


def _points_into(where: Value, looked_up: list[int], value: Value, sizes: Any) -> bool:
    """Return whether a value is looked up by indices, along one axis, one at a time."""
    if where.places is None or where.places.is_shifted or len(looked_up) != 1:
        return False
    i = looked_up[0]
    return sizes[i] == 1 and _atoms.find(where.places.axis).size == value.shape[i]


def _is_neutral(filling: Any) -> bool:
    """Return whether what is read out of bounds scales as one likes (NaN or 0)."""
    return filling is None or filling == 0 or filling != filling
