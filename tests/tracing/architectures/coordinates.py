"""Networks of coordinates, densities, flows, codes and distances."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import gelu, relu, sigmoid, softplus

from tests.tracing.architectures._parts import (
    Architecture,
    Dense,
    dense,
    free,
    normal,
    weights,
    wide,
)


def radial():
    """Distances from centres: no axis of the inputs scales, only units are permuted."""
    p = weights({"c": (6, 4), "beta": (6,), "d": Dense(6, 2)})

    def apply(p, x):
        r = ((x[:, None] - p["c"][None]) ** 2).sum(-1)
        return dense(p["d"], jnp.exp(-r * jnp.exp(p["beta"])[None]))

    return Architecture(apply, p, (normal(3, 4),), (free(6, "c[0] beta[0] d/w[0]"),))


def nerf():
    """Encoded positions, a skip by concatenation, density and colour by direction."""
    p = weights(
        {
            "a": Dense(15, 8),
            "b": Dense(8, 9),
            "c": Dense(24, 10),
            "s": Dense(10, 1),
            "f": Dense(10, 7),
            "e": Dense(10, 6),
            "o": Dense(6, 3),
        }
    )

    def apply(p, x, direction):
        angle = jnp.concatenate([x, 2 * x], -1)
        x = jnp.concatenate([x, jnp.sin(angle), jnp.cos(angle)], -1)
        y = relu(dense(p["b"], relu(dense(p["a"], x))))
        y = relu(dense(p["c"], jnp.concatenate([y, x], -1)))
        z = jnp.concatenate([dense(p["f"], y), direction], -1)
        colour = sigmoid(dense(p["o"], relu(dense(p["e"], z))))
        return colour, softplus(dense(p["s"], y))[:, 0]

    # The inputs and the directions stand beside neurons on one axis: one piece is free.
    return Architecture(
        apply,
        p,
        (normal(4, 3), normal(4, 3, seed=2)),
        (
            free(8, "a/w[1] a/b[0] b/w[0]", scales=1),
            free(9, "b/w[1] b/b[0] c/w[0].0", scales=1),
            free(10, "c/w[1] c/b[0] s/w[0] f/w[0]", scales=1),
            free(7, "f/w[1] f/b[0] e/w[0].0", scales=1, signs=1),
            free(6, "e/w[1] e/b[0] o/w[0]", scales=1),
        ),
    )


def vae():
    """The noise pins the order of latents, and their scale through it."""
    p = weights(
        {
            "e": Dense(6, 9),
            "m": Dense(9, 3),
            "s": Dense(9, 3),
            "d": Dense(3, 7),
            "o": Dense(7, 6),
        }
    )

    def apply(p, x, eps):
        h = relu(dense(p["e"], x))
        mean, log = dense(p["m"], h), dense(p["s"], h)
        z = mean + jnp.exp(0.5 * log) * eps
        kl = 0.5 * (mean**2 + jnp.exp(log) - log - 1).sum(-1)
        return dense(p["o"], jnp.tanh(dense(p["d"], z))), kl

    return Architecture(
        apply,
        p,
        (normal(2, 6), normal(2, 3)),
        (
            free(9, "e/w[1] e/b[0] m/w[0] s/w[0]", scales=1),
            free(7, "d/w[1] d/b[0] o/w[0]", signs=1),
        ),
    )


def coupling():
    """An affine coupling flow of two layers, halves exchanged, with its determinant."""

    def net(h):
        return {"h": Dense(2, h), "s": Dense(h, 2), "t": Dense(h, 2)}

    p = weights({"a": net(7), "b": net(6)})

    def apply(p, x):
        total = 0.0
        for n in "ab":
            u, v = jnp.split(x, 2, -1)
            h = relu(dense(p[n]["h"], u))
            s = jnp.tanh(dense(p[n]["s"], h))
            x = jnp.concatenate([v * jnp.exp(s) + dense(p[n]["t"], h), u], -1)
            total = total + s.sum(-1)
        return x, total

    return Architecture(
        apply,
        p,
        (normal(3, 4),),
        tuple(
            free(k, f"{n}/h/w[1] {n}/h/b[0] {n}/[st]/w[0]", scales=1)
            for n, k in (("a", 7), ("b", 6))
        ),
    )


def siamese():
    """Two inputs through the same weights, and the distance of what comes out."""
    p = weights({"a": Dense(4, 8), "b": Dense(8, 6), "d": Dense(6, 2)})

    def apply(p, x, y):
        def f(v):
            return dense(p["b"], relu(dense(p["a"], v)))

        return dense(p["d"], jnp.abs(f(x) - f(y)))

    return Architecture(
        apply,
        p,
        (normal(3, 4), normal(3, 4, seed=2)),
        (
            free(8, "a/w[1] a/b[0] b/w[0]", scales=1),
            free(6, "b/w[1] b/b[0] d/w[0]", scales=1, signs=1),
        ),
    )


def tied_autoencoder():
    """The decoder is the encoder transposed: no scale, and a sign where odd."""
    p = weights({"w": (6, 8), "v": (8, 5), "b": (8,), "c": (5,), "e": (8,)})

    def apply(p, x):
        h = jnp.tanh(x @ p["w"] + wide(p["b"], x))
        z = jnp.tanh(h @ p["v"] + wide(p["c"], x))
        return jnp.tanh(z @ p["v"].T + wide(p["e"], x)) @ p["w"].T

    return Architecture(
        apply,
        p,
        (normal(3, 6),),
        (
            free(8, "w[1] b[0] v[0] e[0]", signs=1),
            free(5, "v[1] c[0]", signs=1),
        ),
    )


def fourier_operator():
    """Channels mixed for each frequency of a transform over positions."""
    mix = {"re": (3, 6, 6), "im": (3, 6, 6), "d": Dense(6, 6)}
    p = weights({"i": Dense(1, 6), "a": mix, "o": Dense(6, 2)})

    def apply(p, x):
        x = dense(p["i"], x)
        f = jnp.fft.rfft(x, axis=1)[:, :3]
        w = jax.lax.complex(p["a"]["re"], p["a"]["im"])
        f = jnp.einsum("bmi,mio->bmo", f, w)
        y = jnp.fft.irfft(jnp.pad(f, ((0, 0), (0, 2), (0, 0))), n=8, axis=1)
        return dense(p["o"], gelu(x + y + dense(p["a"]["d"], x)))

    return Architecture(
        apply,
        p,
        (normal(2, 8, 1),),
        (
            free(
                6,
                "i/w[1] i/b[0] a/re[1] a/re[2] a/im[1] a/im[2] a/d/w[0] a/d/w[1]"
                " a/d/b[0] o/w[0]",
            ),
        ),
    )


def fourier_features():
    """Random features kept as a constant: they have an order, the neurons none."""
    b = np.random.default_rng(5).normal(size=(2, 4)).astype(np.float32)
    p = weights({"a": Dense(8, 7), "d": Dense(7, 1)})

    def apply(p, x):
        x = x @ b.astype(x.dtype)
        x = jnp.concatenate([jnp.sin(x), jnp.cos(x)], -1)
        return dense(p["d"], relu(dense(p["a"], x)))

    return Architecture(
        apply,
        p,
        (normal(3, 2),),
        (free(7, "a/w[1] a/b[0] d/w[0]", scales=1),),
    )
