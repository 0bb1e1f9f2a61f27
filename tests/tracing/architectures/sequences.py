"""Recurrent networks, state spaces and convolutions over time."""

import jax
import jax.numpy as jnp
from jax.nn import relu, sigmoid, softplus

from tests.tracing.architectures._parts import (
    Architecture,
    Dense,
    conv,
    dense,
    free,
    normal,
    weights,
)


def _lstm(p, x, reverse=False):
    """All hidden states of one layer, gates in one matrix of four pieces."""
    n = p["h"].shape[0]

    def step(carry, x):
        c, h = carry
        y = dense(p["x"], x) + h @ p["h"]
        i, f, g, o = jnp.split(y, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    zero = jnp.zeros((x.shape[0], n), x.dtype)
    _, y = jax.lax.scan(step, (zero, zero), x.swapaxes(0, 1), reverse=reverse)
    return y


def _lstm_shapes(i, n):
    return {"x": Dense(i, 4 * n), "h": (n, 4 * n)}


def lstm():
    p = weights({"l": _lstm_shapes(3, 6), "d": Dense(6, 2)})

    def apply(p, x):
        return dense(p["d"], _lstm(p["l"], x)[-1])

    # Carries start as zeros, cell and candidate are odd: one sign per unit.
    return Architecture(
        apply,
        p,
        (normal(2, 4, 3),),
        (free(6, "l/x/w[1].? l/x/b[0].? l/h[1].? l/h[0] d/w[0]", signs=1),),
    )


def lstm_bidirectional():
    p = weights({"f": _lstm_shapes(3, 6), "b": _lstm_shapes(3, 5), "d": Dense(11, 2)})

    def apply(p, x):
        y = [_lstm(p["f"], x), _lstm(p["b"], x, reverse=True)]
        return dense(p["d"], jnp.concatenate(y, -1).swapaxes(0, 1))

    return Architecture(
        apply,
        p,
        (normal(2, 4, 3),),
        (
            free(6, "f/x/w[1].? f/x/b[0].? f/h[1].? f/h[0] d/w[0].0", signs=1),
            free(5, "b/x/w[1].? b/x/b[0].? b/h[1].? b/h[0] d/w[0].1", signs=1),
        ),
    )


def lstm_two_layers():
    p = weights({"a": _lstm_shapes(3, 6), "b": _lstm_shapes(6, 5), "d": Dense(5, 2)})

    def apply(p, x):
        y = _lstm(p["b"], _lstm(p["a"], x).swapaxes(0, 1))
        return dense(p["d"], y[-1])

    return Architecture(
        apply,
        p,
        (normal(2, 4, 3),),
        (
            free(6, "a/x/w[1].? a/x/b[0].? a/h[1].? a/h[0] b/x/w[0]", signs=1),
            free(5, "b/x/w[1].? b/x/b[0].? b/h[1].? b/h[0] d/w[0]", signs=1),
        ),
    )


def gru():
    p = weights({"x": Dense(3, 18), "h": Dense(6, 18), "d": Dense(6, 2)})

    def apply(p, x):
        def step(h, x):
            a, b, c = jnp.split(dense(p["x"], x), 3, -1)
            u, v, w = jnp.split(dense(p["h"], h), 3, -1)
            z, n = sigmoid(b + v), jnp.tanh(c + sigmoid(a + u) * w)
            return (1 - z) * n + z * h, None

        zero = jnp.zeros((x.shape[0], 6), x.dtype)
        h, _ = jax.lax.scan(step, zero, x.swapaxes(0, 1))
        return dense(p["d"], h)

    return Architecture(
        apply,
        p,
        (normal(2, 4, 3),),
        (free(6, "[xh]/w[1].? [xh]/b[0].? h/w[0] d/w[0]", signs=1),),
    )


def rnn():
    """An Elman network whose first state is a parameter, unrolled."""
    p = weights({"x": Dense(3, 7), "h": (7, 7), "h0": (7,), "d": Dense(7, 2)})

    def apply(p, x):
        h = jnp.broadcast_to(p["h0"][None], (x.shape[0], 7))
        for t in range(3):
            h = relu(dense(p["x"], x[:, t]) + h @ p["h"])
        return dense(p["d"], h)

    # ReLU: a scale, which acts on the recurrent kernel from both sides.
    return Architecture(
        apply,
        p,
        (normal(2, 3, 3),),
        (free(7, "x/w[1] x/b[0] h[0] h[1] h0[0] d/w[0]", scales=1),),
    )


def state_space():
    """A diagonal linear recurrence as a scan."""
    p = weights({"a": (6,), "b": (4, 6), "c": (6, 5), "d": Dense(5, 2)})

    def apply(p, x):
        a = jnp.exp(-jnp.exp(p["a"]))[None]

        def step(h, u):
            return (h := a * h + u @ p["b"], h @ p["c"])

        zero = jnp.zeros((x.shape[0], 6), x.dtype)
        _, y = jax.lax.scan(step, zero, x.swapaxes(0, 1))
        return dense(p["d"], relu(y))

    return Architecture(
        apply,
        p,
        (normal(2, 5, 4),),
        (
            free(6, "a[0] b[1] c[0]", scales=1, signs=1),
            free(5, "c[1] d/w[0]", scales=1),
        ),
    )


def state_space_associative():
    """The same recurrence in logarithmic depth: pairs of times combined."""
    p = state_space().params

    def apply(p, x):
        a = jnp.exp(-jnp.exp(p["a"]))[None, None]
        u = x @ p["b"]

        def combine(a, b):
            return (a[0] * b[0], b[0] * a[1] + b[1])

        a = jnp.broadcast_to(a, u.shape)
        _, h = jax.lax.associative_scan(combine, (a, u), axis=1)
        return dense(p["d"], relu(h @ p["c"]))

    return state_space()._replace(apply=apply, params=p)


def mamba():
    """A selective state space: steps, inputs and outputs depend on the sequence."""
    p = weights(
        {
            "u": Dense(3, 7),
            "dt": Dense(7, 7),
            "a": (7, 5),
            "b": (7, 5),
            "c": (7, 5),
            "skip": (7,),
            "o": Dense(7, 2),
        }
    )

    def apply(p, x):
        u = relu(dense(p["u"], x))
        dt, b, c = softplus(dense(p["dt"], u)), u @ p["b"], u @ p["c"]
        rate = -jnp.exp(p["a"])[None]

        def step(h, xs):
            u, dt, b, c = xs
            h = h * jnp.exp(dt[..., None] * rate) + (dt * u)[..., None] * b[:, None]
            return h, (h * c[:, None]).sum(-1)

        def time(z):
            return z.swapaxes(0, 1)

        zero = jnp.zeros((x.shape[0], 7, 5), x.dtype)
        _, y = jax.lax.scan(step, zero, (time(u), time(dt), time(b), time(c)))
        return dense(p["o"], y + time(u) * p["skip"][None, None])

    # Channels carry the steps both as rows and as columns of one kernel. Scales: of the
    # channels before everything, with skip and recurrence alike.
    return Architecture(
        apply,
        p,
        (normal(2, 4, 3),),
        (
            free(
                7,
                "u/w[1] u/b[0] dt/w[0] dt/w[1] dt/b[0] a[0] b[0] c[0] skip[0] o/w[0]",
                scales=1,
            ),
            free(5, "a[1] b[1] c[1]", scales=1, signs=1),
        ),
    )


def wavenet():
    """Dilated causal convolutions with gates, a residual stream and skips."""
    layer = {
        "f": {"w": (2, 5, 6), "b": (6,)},
        "g": {"w": (2, 5, 6), "b": (6,)},
        "r": Dense(6, 5),
        "s": Dense(6, 7),
    }
    p = weights(
        {"i": Dense(1, 5), "a": layer, "b": layer, "o": Dense(7, 3), "e": (5, 3)}
    )

    def apply(p, x):
        x, skip = dense(p["i"], x), 0.0
        for n, k in (("a", 1), ("b", 2)):
            f, g = (
                conv(p[n][m], jnp.pad(x, ((0, 0), (k, 0), (0, 0))), 1, 1, "VALID", k)
                for m in "fg"
            )
            z = jnp.tanh(f) * sigmoid(g)
            skip = skip + dense(p[n]["s"], z)
            x = x + dense(p[n]["r"], z)
        return dense(p["o"], relu(skip)) + x @ p["e"]

    z = "{0}/[fg]/w[2] {0}/[fg]/b[0] {0}/[rs]/w[0]"
    return Architecture(
        apply,
        p,
        (normal(2, 8, 1),),
        (
            free(
                5, "i/w[1] i/b[0] ?/[fg]/w[1] ?/r/w[1] ?/r/b[0] e[0]", scales=1, signs=1
            ),
            free(6, z.format("a"), signs=1),
            free(6, z.format("b"), signs=1),
            free(7, "?/s/w[1] ?/s/b[0] o/w[0]", scales=1),
        ),
    )
