"""One test for each rule: what it lets through, and that this changes no output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SCALE, SIGN, BOTH, NONE = (1, 0), (0, 1), (1, 1), (0, 0)

UNARY = {
    "relu": (jax.nn.relu, SCALE),
    "leaky_relu": (jax.nn.leaky_relu, SCALE),
    "relu6": (jax.nn.relu6, NONE),
    "identity": (lambda x: x, BOTH),
    "neg": (lambda x: -x, BOTH),
    "tanh": (jnp.tanh, SIGN),
    "sin": (jnp.sin, SIGN),
    "erf": (lax.erf, SIGN),
    "sinh": (jnp.sinh, SIGN),
    "asinh": (jnp.arcsinh, SIGN),
    "atan": (jnp.arctan, SIGN),
    "cos": (jnp.cos, SIGN),
    "cosh": (jnp.cosh, SIGN),
    "exp": (jnp.exp, NONE),
    "exp2": (jnp.exp2, NONE),
    "expm1": (jnp.expm1, NONE),
    "erfc": (lax.erfc, NONE),
    "logistic": (jax.nn.sigmoid, NONE),
    "gelu": (jax.nn.gelu, NONE),
    "silu": (jax.nn.silu, NONE),
    "elu": (jax.nn.elu, NONE),
    "softplus": (jax.nn.softplus, NONE),
    "log1p of square": (lambda x: jnp.log1p(x * x), SIGN),
    "abs": (jnp.abs, BOTH),
    "square": (jnp.square, BOTH),
    "cube": (lambda x: x**3, BOTH),
    "inverse square": (lambda x: x**-2, BOTH),
    "power 1.5 of abs": (lambda x: jnp.abs(x) ** 1.5, BOTH),
    "sqrt of abs": (lambda x: jnp.sqrt(jnp.abs(x)), BOTH),
    "rsqrt of square": (lambda x: lax.rsqrt(jnp.square(x)), BOTH),
    "cbrt": (jnp.cbrt, BOTH),
    "sign": (jnp.sign, BOTH),
    "floor": (jnp.floor, NONE),
    "round": (lambda x: jnp.round(4 * x), SIGN),
    "to integers": (lambda x: (3 * x).astype(np.int32).astype(x.dtype), NONE),
    "to booleans": (lambda x: x.astype(bool).astype(x.dtype) * x, BOTH),
    "clip at 0": (lambda x: jnp.clip(x, 0, jnp.inf), SCALE),
    "clip": (lambda x: jnp.clip(x, -0.5, 0.5), NONE),
    "add 1": (lambda x: x + 1, NONE),
    "add 0": (lambda x: x + jnp.zeros_like(x), BOTH),
    "times 3": (lambda x: 3 * x, BOTH),
    "divided by 3": (lambda x: x / 3, BOTH),
    "3 divided by": (lambda x: 3 / x, BOTH),
    "rem": (lambda x: lax.rem(x, jnp.full_like(x, 0.5)), NONE),
    "atan2": (lambda x: jnp.arctan2(jax.nn.relu(x), jnp.abs(x)), SCALE),
    "where positive": (lambda x: jnp.where(x > 0, x, 0.1 * x), SCALE),
    "where large": (lambda x: jnp.where(x > 1, x, 0), NONE),
    "where finite": (lambda x: jnp.where(jnp.isfinite(x), x, 0), BOTH),
    "max with itself": (lambda x: jnp.maximum(x, 0.3 * x), SCALE),
    "max with -inf": (lambda x: jnp.maximum(x, -jnp.inf), BOTH),
    "equal": (lambda x: x * (x == -x), BOTH),
    "stop gradient": (lax.stop_gradient, BOTH),
    "reduce precision": (lambda x: lax.reduce_precision(x, 11, 52), BOTH),
    "nextafter": (lambda x: jnp.nextafter(x, jnp.ones_like(x)), NONE),
    "heaviside": (lambda x: (x > 0).astype(x.dtype), SCALE),
    "jit": (jax.jit(jnp.tanh), SIGN),
    "remat": (jax.checkpoint(jnp.tanh), SIGN),
    "pow of variable": (lambda x: jnp.abs(x) ** jnp.abs(x), SIGN),
}

ALONG = {
    "softmax": (lambda x: jax.nn.softmax(x, -1), NONE),
    "sum": (lambda x: x * x.sum(-1, keepdims=True), NONE),
    "max": (lambda x: x * x.max(-1, keepdims=True), NONE),
    "prod": (lambda x: x * x.prod(-1, keepdims=True), NONE),
    "layer norm": (lambda x: x / jnp.sqrt(1 + (x * x).mean(-1, keepdims=True)), SIGN),
    "sum over rows": (lambda x: x.sum(0, keepdims=True) + x, BOTH),
    "prod over rows": (lambda x: x.prod(0, keepdims=True), BOTH),
    "max over rows": (lambda x: x.max(0, keepdims=True) * jnp.ones_like(x), SCALE),
    "cumsum over rows": (lambda x: lax.cumsum(x, 0), BOTH),
    "cummax over rows": (lambda x: lax.cummax(x, 0), SCALE),
    "cumprod over rows": (lambda x: lax.cumprod(x, 0), NONE),
    "cumlogsumexp over rows": (lambda x: lax.cumlogsumexp(x, 0), NONE),
    "reverse rows": (lambda x: x[::-1], BOTH),
    "roll rows": (lambda x: jnp.roll(x, 1, 0), BOTH),
    "fft over rows": (lambda x: jnp.fft.fft(x, axis=0).real, BOTH),
    "sort over rows": (lambda x: jnp.sort(x, 0), SCALE),
    "argmax": (lambda x: x * jax.nn.one_hot(x.argmax(-1), x.shape[-1]), NONE),
    "top k mask": (
        lambda x: x * jax.nn.one_hot(lax.top_k(x, 2)[1], x.shape[-1], axis=-1).sum(-2),
        NONE,
    ),
    "argmax over rows": (lambda x: x * x.argmax(0)[None], SCALE),
    "gather at argmax": (
        lambda x: x * jnp.take_along_axis(x, x.argmax(-1)[:, None], -1),
        NONE,
    ),
    "scatter at argmax": (
        jax.vmap(lambda x: jnp.zeros_like(x).at[x.argmax()].set(x.max())),
        NONE,
    ),
    "add at argmax": (
        jax.vmap(lambda x: (0 * x).at[x.argmax()].add(x.max())),
        NONE,
    ),
    "embedding": (lambda x: x[np.array([0, 2, 1])], BOTH),
    "dynamic slice": (lambda x: lax.dynamic_slice_in_dim(x, 1, 2), BOTH),
    "dynamic update": (
        lambda x: lax.dynamic_update_slice_in_dim(x, 2 * x[:1], 1, 0),
        BOTH,
    ),
    "set a row": (lambda x: x.at[1].set(3 * x[0]), BOTH),
    "add to a row": (lambda x: x.at[1].add(x[0]), BOTH),
    "segment sum": (lambda x: jax.ops.segment_sum(x, np.array([0, 1, 0]), 2), BOTH),
    "segment max": (lambda x: jax.ops.segment_max(x, np.array([0, 1, 0]), 2), SCALE),
    "transpose": (lambda x: x.T.T, BOTH),
    "tile rows": (lambda x: jnp.tile(x, (2, 1)), BOTH),
    "stack": (lambda x: jnp.stack([x, 2 * x]).sum(0), BOTH),
    "gram": (lambda x: (x @ x.T) @ x, SIGN),
    "window over rows": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 1), (1, 1), "VALID"),
        SCALE,
    ),
    "mean window over rows": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 1), (1, 1), "SAME"),
        BOTH,
    ),
    "scan over rows": (
        lambda x: lax.scan(lambda c, y: (c + y, c * 2), jnp.zeros(4), x)[1],
        BOTH,
    ),
    "associative scan over rows": (
        lambda x: lax.associative_scan(jnp.add, x),
        BOTH,
    ),
    "linear recurrence": (
        lambda x: lax.associative_scan(
            lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]),
            (0.5 + 0 * jnp.cos(x), x),
        )[1],
        None,
    ),
    "fori loop": (lambda x: lax.fori_loop(0, 3, lambda i, c: c * 0.5 + x, x), BOTH),
    "while loop": (
        lambda x: lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, 2 * c[1]), (0, x)
        )[1],
        BOTH,
    ),
    "cond": (lambda x: lax.cond(True, lambda y: 2 * y, lambda y: 0 * y, x), BOTH),
    "cond on values": (
        lambda x: lax.cond(x.sum() > 0, lambda y: 2 * y, jnp.tanh, x),
        NONE,
    ),
    "custom vjp": (lambda x: _doubled(x), BOTH),
    "debug print": (lambda x: x, BOTH),
}

PINNED = {
    "cumsum": lambda x: lax.cumsum(x, 1),
    "reverse": lambda x: x[:, ::-1],
    "roll": lambda x: x * jnp.roll(x, 1, -1),
    "cumprod": lambda x: lax.cumprod(x, 1),
    "iota": lambda x: x * jnp.arange(4)[None],
    "constant": lambda x: x * np.array([[1.0, 2.0, 3.0, 4.0]]),
    "index": lambda x: x * x[:, 1:2],
    "fft": lambda x: jnp.fft.fft(x).real,
    "window": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "SAME"),
    "argmax as a number": lambda x: x * x.argmax(-1, keepdims=True),
    "argmax of equal entries": lambda x: (
        x * jax.nn.one_hot(jax.nn.relu(x - 9).argmax(-1), 4)
    ),
    "triangle": lambda x: x @ jnp.tril(jnp.ones((4, 4))),
    "unknown": lambda x: x @ jnp.linalg.inv(jnp.eye(4) + 0.1 * x.T @ x),
    "random": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "position": lambda x: lax.dynamic_slice_in_dim(x, 1, 2, 1) @ jnp.ones((2, 4)) + x,
}


@jax.custom_vjp
def _doubled(x):
    return 2 * x


_doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (g,))


def network(operation):
    return lambda p, x: operation(x @ p["a"]) @ p["b"]


SHAPES = ({"a": (5, 4), "b": (4, 2)}, (3, 5))


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_entry(name, check, free):
    operation, expected = UNARY[name]
    traced = check(network(operation), *SHAPES)
    assert free(traced) == {"a1 b0": expected}


@pytest.mark.parametrize("name", ALONG)
def test_functions_of_rows(name, check, free):
    operation, expected = ALONG[name]
    traced = check(network(operation), *SHAPES)
    found = free(traced)
    assert list(found) == ["a1 b0"]
    assert expected is None or found["a1 b0"] == expected


@pytest.mark.parametrize("name", PINNED)
def test_what_tells_neurons_apart_pins_them(name, check, free):
    traced = check(network(PINNED[name]), *SHAPES)
    assert not free(traced)
    assert all(
        "rules_test.py" in str(space.pinned) or "put" in str(space.pinned)
        for space in traced.spaces.values()
    )


def test_rows_that_are_cut_off_stay(check):
    traced = check(
        lambda p, x: jax.nn.relu(x @ p["a"] + p["table"][:3]) @ p["b"],
        {"a": (5, 4), "b": (4, 2), "table": (9, 4)},
        (3, 5),
    )
    (number,) = traced.free()
    assert traced.spaces[number].size == 4
    rest = [s for s in traced.spaces.values() if s.size == 6]
    assert len(rest) == 1 and rest[0].pinned.text == "the outputs do not depend on it"
    assert not rest[0].scales and not rest[0].signs
