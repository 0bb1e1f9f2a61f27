"""Dense networks: activations, gates, sets, members and products."""

import jax
import jax.numpy as jnp
from jax.nn import elu, gelu, leaky_relu, relu, sigmoid, silu

from tests.tracing.architectures._parts import (
    Architecture,
    Dense,
    dense,
    free,
    normal,
    rms_norm,
    weights,
    wide,
)

# What a function leaves free besides the order: (groups of scales, groups of signs).
ACTIVATIONS = {
    "relu": (relu, 1, 0),
    "leaky_relu": (leaky_relu, 1, 0),
    "abs": (jnp.abs, 1, 1),
    "square": (lambda x: x * x, 1, 1),
    "tanh": (jnp.tanh, 0, 1),
    "sine": (lambda x: jnp.sin(30.0 * x), 0, 1),
    "linear": (lambda x: x, 1, 1),
    "gelu": (gelu, 0, 0),
    "silu": (silu, 0, 0),
    "elu": (elu, 0, 0),
    "softsign": (lambda x: x / (1 + jnp.abs(x)), 0, 1),
}


def multilayer(name):
    """A perceptron of three hidden layers with one activation."""
    activation, scales, signs = ACTIVATIONS[name]
    p = weights({"a": Dense(5, 12), "b": Dense(12, 10), "c": Dense(10, 9), "d": (9, 4)})

    def apply(p, x):
        for n in "abc":
            x = activation(dense(p[n], x))
        return x @ p["d"]

    uses = ((12, "a", "b/w[0]"), (10, "b", "c/w[0]"), (9, "c", "d[0]"))
    return Architecture(
        apply,
        p,
        (normal(3, 5),),
        tuple(
            free(n, f"{at}/w[1] {at}/b[0] {read}", scales, signs)
            for n, at, read in uses
        ),
    )


def maxout():
    p = weights({"a": Dense(4, 15), "d": Dense(5, 2)})

    def apply(p, x):
        x = dense(p["a"], x).reshape(3, 5, 3).max(-1)
        return dense(p["d"], x)

    return Architecture(
        apply,
        p,
        (normal(3, 4),),
        (
            free(5, "a/w[1].0 a/b[0].0 d/w[0]", scales=1),
            free(3, "a/w[1].1 a/b[0].1", over=(5,)),
        ),
    )


def gated(name):
    """Gated linear units: what is not gated stays linear."""
    gate = {"glu": sigmoid, "swiglu": silu, "reglu": relu}[name]
    p = weights({"a": Dense(4, 14), "d": Dense(7, 2)})

    def apply(p, x):
        g, u = jnp.split(dense(p["a"], x), 2, -1)
        return dense(p["d"], gate(g) * u)

    # A ReLU gate has a scale of its own.
    scales = 2 if name == "reglu" else 1
    return Architecture(
        apply,
        p,
        (normal(3, 4),),
        (free(7, "a/w[1].? a/b[0].? d/w[0]", scales=scales, signs=1),),
    )


def deep_sets():
    p = weights(
        {"a": Dense(3, 8), "b": Dense(8, 7), "c": Dense(14, 6), "d": Dense(6, 2)}
    )

    def apply(p, x):
        x = jnp.tanh(dense(p["b"], relu(dense(p["a"], x))))
        x = jnp.concatenate([x.sum(1), x.max(1)], -1)
        return dense(p["d"], relu(dense(p["c"], x)))

    # The maximum forbids the sign that the sum would allow.
    return Architecture(
        apply,
        p,
        (normal(2, 5, 3),),
        (
            free(8, "a/w[1] a/b[0] b/w[0]", scales=1),
            free(7, "b/w[1] b/b[0] c/w[0].0 c/w[0].1"),
            free(6, "c/w[1] c/b[0] d/w[0]", scales=1),
        ),
    )


def locally_connected():
    """A layer of its own at each position: units over positions."""
    p = weights({"a": (5, 3, 6), "b": (5, 6), "c": (5, 6, 2)})

    def apply(p, x):
        y = relu(jnp.einsum("bti,tio->bto", x, p["a"]) + p["b"][None])
        return jnp.einsum("bto,tok->btk", y, p["c"])

    return Architecture(
        apply,
        p,
        (normal(2, 5, 3),),
        (free(6, "a[2] b[1] c[1]", scales=1, over=(5,)),),
    )


def highway():
    """A gate between the input and its transform keeps one stream of neurons."""
    p = weights(
        {"i": Dense(3, 8), "h": Dense(8, 8), "t": Dense(8, 8), "d": Dense(8, 2)}
    )

    def apply(p, x):
        x = jnp.tanh(dense(p["i"], x))
        t = sigmoid(dense(p["t"], x))
        x = t * jnp.tanh(dense(p["h"], x)) + (1 - t) * x
        return dense(p["d"], x)

    return Architecture(
        apply,
        p,
        (normal(3, 3),),
        (
            free(
                8,
                "i/w[1] i/b[0] [ht]/w[0] [ht]/w[1] [ht]/b[0] d/w[0]",
                signs=1,
            ),
        ),
    )


def bilinear():
    """Products of two projections, as in factorisation machines."""
    p = weights({"u": (4, 6), "v": (3, 6), "d": Dense(6, 2)})

    def apply(p, x, y):
        return dense(p["d"], (x @ p["u"]) * (y @ p["v"]))

    return Architecture(
        apply,
        p,
        (normal(3, 4), normal(3, 3)),
        (free(6, "u[1] v[1] d/w[0]", scales=2, signs=2),),
    )


def residual_rms():
    """A residual perceptron under sums of squares, layers stacked and scanned."""
    p = weights(
        {
            "i": (3, 9),
            "s": {"scale": (5, 9), "a": (5, 9, 11), "b": (5, 11, 9)},
            "d": (9, 2),
        }
    )

    def apply(p, x):
        def step(x, w):
            return (
                x + relu(rms_norm(w["scale"], x) @ w["a"]) @ w["b"],
                None,
            )

        return jax.lax.scan(step, x @ p["i"], p["s"])[0] @ p["d"]

    return Architecture(
        apply,
        p,
        (normal(2, 3),),
        (
            free(9, "i[1] s/scale[1] s/a[1] s/b[2] d[0]", scales=1, signs=2),
            free(11, "s/a[2] s/b[1]", scales=1, over=(5,)),
        ),
    )


def ensemble():
    """Members stacked by vmap: they may be exchanged, and units in each of them."""
    p = weights({"a": (5, 3, 7), "b": (5, 7), "d": (5, 7, 2)})

    def member(a, b, d, x):
        return relu(x @ a + wide(b, x)) @ d

    def apply(p, x):
        y = jax.vmap(member, (0, 0, 0, None))(p["a"], p["b"], p["d"], x)
        return jax.nn.log_softmax(y, -1).mean(0)

    return Architecture(
        apply,
        p,
        (normal(2, 3),),
        (
            free(5, "a[0] b[0] d[0]", scales=1),
            free(7, "a[2] b[1] d[1]", scales=1, over=(5,)),
        ),
    )
