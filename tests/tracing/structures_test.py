"""Rules that cut, join and contract axes: which spaces are found, and over which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from symmerge_jax import symmetry, tracing


def conv(x, kernel, groups=1, strides=(1, 1), padding="SAME"):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def rope(x):
    angles = jnp.arange(x.shape[1])[None, :, None] * jnp.array([1.0, 0.1])[None, None]
    a, b = x[..., ::2], x[..., 1::2]
    c, s = jnp.cos(angles), jnp.sin(angles)
    return jnp.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)


def shuffled(p, x):
    x = jax.nn.relu(conv(x, p["a"]))
    x = jax.nn.relu(conv(x, p["b"], groups=2))
    x = x.reshape(*x.shape[:3], 2, 4).swapaxes(3, 4).reshape(x.shape)
    x = jax.nn.relu(conv(x, p["c"], groups=2))
    return x.mean((1, 2)) @ p["d"]


def top_k_experts(p, x):
    gates, chosen = lax.top_k(jax.nn.softmax(x @ p["r"]), 2)
    hidden = jnp.einsum("sd,skdf->skf", x, p["u"][chosen])
    return jnp.einsum("skf,skfo,sk->so", jnp.tanh(hidden), p["v"][chosen], gates)


def dense_experts(p, x):
    gates = jax.nn.softmax(x @ p["r"])
    hidden = jnp.tanh(jnp.einsum("sd,edf->sef", x, p["u"]))
    return jnp.einsum("sef,efo,se->so", hidden, p["v"], gates)


def layers(p, x):
    def step(x, w):
        return x + jnp.tanh(x @ w["u"]) @ w["v"], None

    x, _ = lax.scan(step, x @ p["a"], {"u": p["u"], "v": p["v"]})
    return x @ p["b"]


def recurrence(p, x):
    def step(h, x):
        return jnp.tanh(x @ p["a"] + h @ p["h"]), None

    h, _ = lax.scan(step, jnp.zeros((x.shape[1], 4)), x)
    return h @ p["b"]


def attention(p, x):
    q, k, v = (jnp.einsum("sd,dhe->she", x, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("she,the->hst", q, k))
    return jnp.einsum("hst,the,heo->so", weights, v, p["o"])


def fused(p, x):
    q, k, v = jnp.split(x @ p["qkv"], 3, -1)
    q, k, v = (z.reshape(3, 2, 4) for z in (q, k, v))
    weights = jax.nn.softmax(jnp.einsum("she,the->hst", q, k))
    return jnp.einsum("hst,the->she", weights, v).reshape(3, 8) @ p["o"]


def group_norm(p, x):
    y = (x @ p["a"]).reshape(3, 2, 4)
    y = y / jnp.sqrt(1 + (y * y).mean(-1, keepdims=True))
    return y.reshape(3, 8) @ p["b"]


CASES = {
    # name: apply, shapes of parameters, of inputs, {space: number of spaces over}
    "two layers": (
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"],
        {"a": (5, 4), "b": (4, 6), "c": (6, 2)},
        ((3, 5),),
        {"a1 b0": 0, "b1 c0": 0},
    ),
    "one matrix twice": (
        lambda p, x: (
            jnp.tanh(jnp.tanh(jnp.tanh(x @ p["a"]) @ p["h"]) @ p["h"]) @ p["b"]
        ),
        {"a": (5, 4), "h": (4, 4), "b": (4, 2)},
        ((3, 5),),
        {"a1 b0 h0 h1": 0},
    ),
    "transposed": (
        lambda p, x: jnp.tanh(x @ p["a"].T) @ p["b"].T,
        {"a": (4, 5), "b": (2, 4)},
        ((3, 5),),
        {"a0 b1": 0},
    ),
    "tied": (
        lambda p, x: jnp.tanh(x @ p["a"]) @ p["a"].T,
        {"a": (5, 4)},
        ((3, 5),),
        {"a1": 0},
    ),
    "product of two parameters": (
        lambda p, x: x @ (p["a"] @ p["b"]),
        {"a": (5, 4), "b": (4, 2)},
        ((3, 5),),
        {"a1 b0": 0},
    ),
    "concatenation": (
        lambda p, x: (
            jnp.concatenate([jnp.tanh(x @ p["a"]), jnp.tanh(x @ p["b"])], -1) @ p["c"]
        ),
        {"a": (5, 4), "b": (5, 3), "c": (7, 2)},
        ((3, 5),),
        {"a1 c0": 0, "b1 c0.1": 0},
    ),
    "split gate": (
        lambda p, x: (jax.nn.silu((x @ p["a"])[:, :4]) * (x @ p["a"])[:, 4:]) @ p["b"],
        {"a": (5, 8), "b": (4, 2)},
        ((3, 5),),
        {"a1 a1.1 b0": 0},
    ),
    "one neuron apart": (
        lambda p, x: jnp.tanh(x @ p["a"])[:, 1:] @ p["b"] + (x @ p["a"])[:, :1],
        {"a": (5, 4), "b": (3, 2)},
        ((3, 5),),
        {"a1.1 b0": 0},
    ),
    "padded shortcut": (
        lambda p, x: (
            jnp.tanh(jnp.pad(x @ p["a"], ((0, 0), (1, 2))) + x @ p["b"]) @ p["c"]
        ),
        {"a": (5, 4), "b": (5, 7), "c": (7, 2)},
        ((3, 5),),
        {"a1 b1.1 c0.1": 0, "b1.2 c0.2": 0},
    ),
    "flattened image": (
        lambda p, x: jax.nn.relu(conv(x, p["a"])).reshape(2, -1) @ p["b"],
        {"a": (3, 3, 2, 4), "b": (36, 2)},
        ((2, 3, 3, 2),),
        {"a3 b0.2": 0},
    ),
    "depthwise": (
        lambda p, x: conv(conv(conv(x, p["a"]), p["b"], groups=4), p["c"]).mean((1, 2)),
        {"a": (1, 1, 2, 4), "b": (3, 3, 1, 4), "c": (1, 1, 4, 2)},
        ((2, 3, 3, 2),),
        {"a3 b3 c2": 0},
    ),
    "depthwise with a multiplier": (
        lambda p, x: conv(conv(conv(x, p["a"]), p["b"], groups=4), p["c"]).mean((1, 2)),
        {"a": (1, 1, 2, 4), "b": (3, 3, 1, 8), "c": (1, 1, 8, 2)},
        ((2, 3, 3, 2),),
        {"a3 b3 c2": 0, "b3.1 c2.1": 1},
    ),
    "grouped": (
        lambda p, x: conv(conv(conv(x, p["a"]), p["b"], groups=2), p["c"]).mean((1, 2)),
        {"a": (1, 1, 2, 4), "b": (3, 3, 2, 6), "c": (1, 1, 6, 2)},
        ((2, 3, 3, 2),),
        {"a3 b3 c2": 0, "a3.1 b2": 1, "b3.1 c2.1": 1},
    ),
    "shuffled channels": (
        shuffled,
        {"a": (1, 1, 2, 4), "b": (1, 1, 2, 8), "c": (1, 1, 4, 4), "d": (4, 2)},
        ((2, 3, 3, 2),),
        None,
    ),
    "strided": (
        lambda p, x: jnp.concatenate([rope(x @ p["a"]), x @ p["a"]], -1) @ p["b"],
        {"a": (5, 4), "b": (8, 2)},
        ((2, 3, 5),),
        {},
    ),
    "attention": (
        attention,
        {"q": (5, 2, 4), "k": (5, 2, 4), "v": (5, 2, 4), "o": (2, 4, 6)},
        ((3, 5),),
        {"k1 o0 q1 v1": 0, "k2 q2": 1, "o1 v2": 1},
    ),
    "fused attention": (
        fused,
        {"qkv": (5, 24), "o": (8, 6)},
        ((3, 5),),
        {"o0 qkv1 qkv1.2 qkv1.4": 0, "qkv1.1 qkv1.3": 1, "o0.1 qkv1.5": 1},
    ),
    "group norm": (
        group_norm,
        {"a": (5, 8), "b": (8, 2)},
        ((3, 5),),
        {"a1 b0": 0, "a1.1 b0.1": 1},
    ),
    "dense experts": (
        dense_experts,
        {"r": (5, 3), "u": (3, 5, 4), "v": (3, 4, 2)},
        ((6, 5),),
        {"r1 u0 v0": 0, "u2 v1": 1},
    ),
    "top-k experts": (
        top_k_experts,
        {"r": (5, 3), "u": (3, 5, 4), "v": (3, 4, 2)},
        ((6, 5),),
        {"r1 u0 v0": 0, "u2 v1": 0},
    ),
    "scanned layers": (
        layers,
        {"a": (5, 4), "u": (3, 4, 6), "v": (3, 6, 4), "b": (4, 2)},
        ((2, 5),),
        {"a1 b0 u1 v2": 0, "u2 v1": 1},
    ),
    "recurrence": (
        recurrence,
        {"a": (5, 4), "h": (4, 4), "b": (4, 2)},
        ((3, 2, 5),),
        {"a1 b0 h0 h1": 0},
    ),
    "graph": (
        lambda p, x: (
            jax.ops.segment_sum(
                jnp.tanh(x @ p["a"])[np.array([0, 1, 2, 0])], np.array([1, 2, 0, 2]), 3
            )
            @ p["b"]
        ),
        {"a": (5, 4), "b": (4, 2)},
        ((3, 5),),
        {"a1 b0": 0},
    ),
    "embedding": (
        lambda p, x: jnp.tanh(p["e"][x]) @ p["b"],
        {"e": (7, 4), "b": (4, 2)},
        (np.array([1, 5, 3]),),
        {"b0 e1": 0},
    ),
    "outer product": (
        lambda p, x: jnp.einsum("i,j,ijo->o", p["a"], p["b"], p["c"]),
        {"a": (4,), "b": (3,), "c": (4, 3, 2)},
        ((1,),),
        {"a0 c0": 0, "b0 c1": 0},
    ),
    "two sums over pairs": (
        lambda p, x: jnp.einsum("ab,cb->ac", p["m"], jnp.tanh(p["m"])).sum(),
        {"m": (4, 3)},
        ((1,),),
        {"m0": 0, "m1": 0},
    ),
    "sum over pairs": (
        lambda p, x: (jnp.tanh(p["m"]) * p["m"]).sum(),
        {"m": (4, 3)},
        ((1,),),
        {"m0": 0, "m1": 1},
    ),
    "running sum over heads": (
        lambda p, x: (
            lax.cumsum(jnp.tanh(jnp.einsum("sd,dhe->she", x, p["a"])), 1) * p["b"]
        ).sum((1, 2)),
        {"a": (5, 2, 4), "b": (1, 2, 4)},
        ((3, 5),),
        {"a2 b2": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_spaces(name, check, free):
    apply, params, inputs, expected = CASES[name]
    traced = check(apply, params, *inputs)
    found = {
        uses: len(traced.spaces[number].over)
        for uses, number in zip(free(traced), traced.free(), strict=True)
    }
    assert (
        expected is None
        or {" ".join(sorted(k.split())): v for k, v in found.items()} == expected
    )


@pytest.mark.parametrize("name", [n for n in CASES if n != "two sums over pairs"])
def test_specs_act_as_was_inferred(name):
    apply, shapes, inputs, _ = CASES[name]
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = {key: rng.normal(size=shape) for key, shape in shapes.items()}
        inputs = [rng.normal(size=x) if isinstance(x, tuple) else x for x in inputs]
        spec = tracing.to_spec(tracing.infer(apply, params, *inputs), params)
        sizes = spec.sizes(params)

        @jax.jit
        def both(params):
            element = symmetry.sample(jax.random.key(0), spec, sizes, scale_std=0.5)
            moved = symmetry.act(element, params, spec)
            return apply(moved, *inputs), apply(params, *inputs)

        np.testing.assert_allclose(*both(params), rtol=1e-9, atol=1e-12)


def test_the_identity_matrix_tells_nothing_apart(check, free):
    traced = check(
        lambda p, x: jnp.tanh(x @ p["a"]) @ jnp.eye(4) @ p["b"],
        {"a": (5, 4), "b": (4, 2)},
        (3, 5),
    )
    assert free(traced) == {"a1 b0": (0, 0)}


def test_what_the_outputs_do_not_depend_on_stays(check):
    traced = check(lambda p, x: x @ p["a"], {"a": (5, 4), "idle": (3, 2)}, (3, 5))
    assert traced.unused == (("idle",),)
    idle = [s for s in traced.spaces.values() if s.uses[0].path == ("idle",)]
    assert all(s.pinned and not s.scales and not s.signs for s in idle)


def test_statistics_do_not_scale(check):
    def apply(p, x):
        mean, var = p["norm"]["running_mean"], p["norm"]["running_var"]
        return jax.nn.relu((x @ p["a"] - mean) / jnp.sqrt(var**2)) @ p["b"]

    params = {"a": np.ones((5, 4)), "b": np.ones((4, 2))}
    params["norm"] = {key: np.ones((1, 4)) for key in ("running_mean", "running_var")}
    by_default = tracing.infer(apply, params, np.ones((3, 5)))
    (number,) = by_default.free()
    scaled = {use.path[-1] for s in by_default.spaces[number].scales for use in s}
    assert scaled == set()
    all_scale = tracing.infer(apply, params, np.ones((3, 5)), statistics=[])
    assert len(all_scale.spaces[number].scales) == 2


def test_an_unknown_operation_is_reported_with_its_cost(check):
    traced = check(
        lambda p, x: jnp.linalg.inv(jnp.eye(4) + 0.1 * (x @ p["a"]).T @ (x @ p["a"])),
        {"a": (5, 4)},
        (3, 5),
    )
    pinned = {use for uses in traced.unknown.values() for use in uses}
    assert pinned == {tracing.Use(("a",), 1, 0)}
