"""Rules of programs within the program: calls, scans, loops, branches."""

from collections.abc import Sequence
from typing import Any

from symmerge_jax import programs
from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._interpreter import Interpreter
from symmerge_jax.tracing._registry import rule
from symmerge_jax.tracing._values import Value


@rule(
    "jit",
    "closed_call",
    "call",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "composite",
    "custom_vmap_call",
    "custom_jvp_call_jaxpr",
    indices=True,
)
def call(ctx: Interpreter, eqn: Any, *values: Value) -> Sequence[Value]:
    """A call is the program that it calls."""
    for name in ("call_jaxpr", "jaxpr", "fun_jaxpr", "call"):
        if name in eqn.params:
            return ctx.run(eqn.params[name], values)
    raise AssertionError(f"{eqn.primitive.name} calls nothing")


@rule("scan")
def scan(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """A scan is its body, with carries of one type in every step.

    The scanned axis is pinned. It accompanies all values of the body but those that
    come from the carry or from outside.
    """
    params = eqn.params
    num_consts, num_carry = programs.scan_counts(eqn)
    consts = values[:num_consts]
    carry = values[num_consts : num_consts + num_carry]
    scanned = values[num_consts + num_carry :]
    length = params["length"]
    step: Axis = ctx.fresh("step", length, "steps of a scan")
    for value in scanned:
        step = ctx.unify(step, value.axes[0], "steps of a scan")
        ctx.pin(value.axes[0], "steps of a scan")
        ctx.mute(value, [0])
    inner = [v.moved(v.shape[1:], v.axes[1:], v.weights[1:]) for v in scanned]
    typed = _typed(ctx, carry)
    for value in (*consts, *typed):
        ctx.note(value)
    ambient = [leaf.number for leaf in _atoms.leaves(step)] if ctx.is_final else []
    ctx.fibres.ambient += ambient
    ctx.steps.append(step)
    results = ctx.run(params["jaxpr"], (*consts, *typed, *inner))
    ctx.steps.pop()
    del ctx.fibres.ambient[len(ctx.fibres.ambient) - len(ambient) :]
    final = _carried(ctx, carry, typed, results[:num_carry])
    stacked = []
    for value in results[num_carry:]:
        value = ctx.as_numbers(value)
        ctx.linearity.spoil_squares(value)
        axes, weights = (step, *value.axes), (ctx.zeros(step), *value.weights)
        value = value.moved((length, *value.shape), axes, weights)
        stacked.append(value._replace(constant=None, is_raw=False))
    return [*final, *stacked]


@rule("while")
def while_(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """A loop is its body, with carries of one type; its test bears no scale."""
    params = eqn.params
    for_test, for_body = params["cond_nconsts"], params["body_nconsts"]
    test_consts = values[:for_test]
    body_consts = values[for_test : for_test + for_body]
    carry = values[for_test + for_body :]
    typed = _typed(ctx, carry)
    for value in typed:
        ctx.note(value)
    for value in ctx.run(params["cond_jaxpr"], (*test_consts, *typed), branch=0):
        ctx.kill(value, "whether a loop goes on")
    results = ctx.run(params["body_jaxpr"], (*body_consts, *typed), branch=1)
    return _carried(ctx, carry, typed, results)


@rule("cond")
def cond(ctx: Interpreter, eqn: Any, which: Value, *values: Value) -> list[Value]:
    """Branches give values of one type; 0 is of any. The choice bears no scale."""
    ctx.kill(which, "the choice of a branch")
    branches = [
        [ctx.as_numbers(v) for v in ctx.run(branch, values, branch=n)]
        for n, branch in enumerate(eqn.params["branches"])
    ]
    results = []
    for cases in zip(*branches, strict=True):
        moving = [v for v in cases if not v.is_zero] or cases[:1]
        for value in moving:
            ctx.linearity.spoil_squares(value)
            for other in moving:
                ctx.linearity.spoil_constant(value, other)
        axes: list[Axis] = [None] * len(cases[0].shape)
        for value in moving:
            axes = [
                ctx.unify(a, b, "branches")
                for a, b in zip(axes, value.axes, strict=True)
            ]
        weights = []
        for i, axis in enumerate(axes):
            first = ctx.along(moving[0], i, axis)
            for value in moving[1:]:
                ctx.demand_equal(axis, first, ctx.along(value, i, axis))
            weights.append(first)
        ties = any(v.ties for v in cases)
        constant = cases[0].constant if all(v.is_zero for v in cases) else None
        results.append(
            Value(cases[0].shape, tuple(axes), tuple(weights), constant, ties=ties)
        )
    return results


@rule(
    "random_bits",
    "random_seed",
    "random_split",
    "random_fold_in",
    "random_gamma",
    "random_clone",
    "rng_bit_generator",
    "rng_uniform",
    "threefry2x32",
)
def random_bits(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """Random numbers are told apart by position."""
    for value in values:
        ctx.kill(value, "random numbers")
    return ctx.all_fixed(eqn, "random numbers")


@rule("random_wrap", "random_unwrap")
def random_key(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """Keys are told apart by position."""
    for value in values:
        ctx.kill(value, "random keys")
    return ctx.all_fixed(eqn, "random keys")


@rule("debug_callback", "debug_print")
def debug(ctx: Interpreter, eqn: Any, *values: Value) -> list[Value]:
    """What is printed is no result."""
    return []


def _typed(ctx: Interpreter, carry: Sequence[Value]) -> list[Value]:
    """Return carries with the axes of the passes before and with unknown exponents.

    A carry that starts constant need not stay so: its axes are those of all steps.
    """
    typed = []
    for n, value in enumerate(carry):
        value = ctx.as_numbers(value)
        axes = [ctx.keep(("carry", n, i), axis) for i, axis in enumerate(value.axes)]
        weights = tuple(ctx.unknowns(axis) for axis in axes)
        typed.append(Value(value.shape, tuple(axes), weights, ties=True))
    return typed


def _carried(
    ctx: Interpreter,
    start: Sequence[Value],
    typed: Sequence[Value],
    results: Sequence[Value],
) -> list[Value]:
    """Demand that carries keep their type, at the start (where 0 has any) and after."""
    for n, (before, value, after) in enumerate(zip(start, typed, results, strict=True)):
        after = ctx.as_numbers(after)
        for carried in (before, after):
            ctx.linearity.spoil_squares(carried)
            if not carried.is_zero:
                ctx.linearity.spoil_constant(value, carried)
        for i, axis in enumerate(value.axes):
            joined = ctx.keep(("carry", n, i), after.axes[i])
            joined = ctx.unify(joined, axis, "carried")
            if not before.is_zero:
                ctx.demand_equal(
                    joined, ctx.along(value, i, joined), ctx.along(before, i, joined)
                )
            if not after.is_zero:
                ctx.demand_equal(
                    joined, ctx.along(value, i, joined), ctx.along(after, i, joined)
                )
    return list(typed)
