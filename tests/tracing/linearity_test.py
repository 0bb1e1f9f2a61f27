"""Spaces on which matrices act: found where they do, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from symmerge_jax import tracing


def attention(p, x):
    q, k, v = (jnp.einsum("sd,dhe->she", x, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("she,the->hst", q, k))
    return jnp.einsum("hst,the,heo->so", weights, v, p["o"])


def normalised(x):
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1)


HIDDEN = {"a": (5, 4), "b": (4, 2)}
CASES = {
    "linear": (lambda p, x: x @ p["a"] @ p["b"], HIDDEN, {"a1 b0": "general"}),
    "bias": (
        lambda p, x: (x @ p["a"] + p["c"]) @ p["b"],
        HIDDEN | {"c": (1, 4)},
        {"a1 b0 c1": "general"},
    ),
    "norm": (
        lambda p, x: normalised(x @ p["a"]) @ p["b"],
        HIDDEN,
        {"a1 b0": "orthogonal"},
    ),
    "dot with itself": (
        lambda p, x: (x @ p["a"]) @ (x @ p["a"]).T,
        {"a": (5, 4)},
        {"a1": "orthogonal"},
    ),
    "norm with scales": (
        lambda p, x: (normalised(x @ p["a"]) * p["c"]) @ p["b"],
        HIDDEN | {"c": (1, 4)},
        {"a1 b0 c1": None},
    ),
    "tanh": (lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], HIDDEN, {"a1 b0": None}),
    "relu": (lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], HIDDEN, {"a1 b0": None}),
    "plus 1": (lambda p, x: (x @ p["a"] + 1) @ p["b"], HIDDEN, {"a1 b0": None}),
    "sum": (
        lambda p, x: (x @ p["a"]).sum(-1, keepdims=True) + (x @ p["a"]) @ p["b"],
        HIDDEN,
        {"a1 b0": None},
    ),
    "square": (lambda p, x: (x @ p["a"]) ** 2 @ p["b"], HIDDEN, {"a1 b0": None}),
    "fourth powers": (
        lambda p, x: ((x @ p["a"]) ** 2 * (x @ p["a"]) ** 2).sum(-1, keepdims=True),
        {"a": (5, 4)},
        {"a1": None},
    ),
    "gate": (
        lambda p, x: ((x @ p["a"]) * (x @ p["c"])) @ p["b"],
        HIDDEN | {"c": (5, 4)},
        {"a1 b0 c1": None},
    ),
    "mean as a start": (
        lambda p, x: (
            lax.fori_loop(0, 2, lambda i, c: c + x @ p["a"], jnp.ones((3, 4))) @ p["b"]
        ),
        HIDDEN,
        {"a1 b0": None},
    ),
    "attention": (
        attention,
        {"q": (5, 2, 4), "k": (5, 2, 4), "v": (5, 2, 4), "o": (2, 4, 6)},
        {"k1 q1 v1 o0": None, "k2 q2": "general", "v2 o1": "general"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_matrices_act_where_all_is_linear(name):
    apply, shapes, expected = CASES[name]
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = {key: rng.normal(size=shape) for key, shape in shapes.items()}
        x = rng.normal(size=(3, 5))
        traced = tracing.infer(apply, params, x)
        spaces = [s for s in traced.spaces.values() if s.pinned is None]
        found = {
            frozenset(f"{use.path[0]}{use.axis}" for use in space.uses): space.linear
            for space in spaces
        }
        assert found == {frozenset(k.split()): v for k, v in expected.items()}
        for space in spaces:
            if space.linear is not None:
                moved = _moved(params, space, rng)
                np.testing.assert_allclose(apply(moved, x), apply(params, x), rtol=1e-8)


def _moved(params, space, rng):
    """Multiply by a random matrix where the space is written, its inverse elsewhere."""
    matrix = rng.normal(size=(space.size, space.size))
    signs = {}
    if space.linear == "orthogonal":
        matrix = np.linalg.qr(matrix)[0]
    else:
        (signs,) = space.scales
    moved = dict(params)
    for use in space.uses:
        name = use.path[0]
        m = np.linalg.inv(matrix).T if signs.get(use, 1) < 0 else matrix
        moved[name] = np.moveaxis(
            np.tensordot(moved[name], m, (use.axis, 0)), -1, use.axis
        )
    return moved
