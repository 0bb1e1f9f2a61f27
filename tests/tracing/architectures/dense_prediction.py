"""Networks that answer at every pixel: segmentation, pyramids, flow and diffusion."""

import jax
import jax.numpy as jnp
from jax.nn import relu, sigmoid, silu

from tests.tracing.architectures._parts import (
    Architecture,
    Batch,
    Conv,
    Dense,
    Kernel,
    Norm,
    batch_norm,
    conv,
    dense,
    free,
    group_norm,
    image,
    normal,
    pool,
    running,
    upsample,
    weights,
)


def fcn():
    p = weights(
        {
            "c1": Kernel(3, 3, 5),
            "n1": Batch(5),
            "c2": Conv(3, 5, 6),
            "h": Conv(3, 6, 7),
            "o": Conv(1, 7, 4),
            "aux": Conv(1, 5, 4),
        }
    )

    def apply(p, x):
        y = relu(batch_norm(p["n1"], conv(p["c1"], x)))
        z = relu(conv(p["c2"], y, 2))
        out = conv(p["o"], relu(conv(p["h"], z)))
        shape = (*x.shape[:3], 4)
        return jax.image.resize(out, shape, "bilinear"), conv(p["aux"], y)

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] n1/*[0] c2/w[2] aux/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] h/w[2]", scales=1),
            free(7, "h/w[3] h/b[0] o/w[2]", scales=1),
        ),
        running(p),
    )


def deeplab():
    """Atrous convolutions in parallel, and a pooled branch resized back."""
    p = weights(
        {
            "c": Conv(3, 3, 5),
            "a": Conv(1, 5, 4),
            "b": Conv(3, 5, 6),
            "e": Conv(3, 5, 7),
            "g": Conv(1, 5, 8),
            "p": Conv(1, 25, 9),
            "o": Conv(3, 9, 3),
        }
    )

    def apply(p, x):
        x = relu(conv(p["c"], x))
        a, b = relu(conv(p["a"], x)), relu(conv(p["b"], x, dilation=2))
        e = relu(conv(p["e"], x, dilation=3))
        g = relu(conv(p["g"], x.mean((1, 2), keepdims=True)))
        g = jax.image.resize(g, (*x.shape[:3], 8), "bilinear")
        x = relu(conv(p["p"], jnp.concatenate([a, b, e, g], -1)))
        return conv(p["o"], x)

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c/w[3] c/b[0] a/w[2] b/w[2] e/w[2] g/w[2]", scales=1),
            free(4, "a/w[3] a/b[0] p/w[2].0", scales=1),
            free(6, "b/w[3] b/b[0] p/w[2].1", scales=1),
            free(7, "e/w[3] e/b[0] p/w[2].2", scales=1),
            free(8, "g/w[3] g/b[0] p/w[2].3", scales=1),
            free(9, "p/w[3] p/b[0] o/w[2]", scales=1),
        ),
    )


def lraspp():
    """One branch gates another by what it sees of the whole image."""
    p = weights(
        {
            "c1": Conv(3, 3, 5),
            "c2": Conv(3, 5, 6),
            "a": Conv(1, 6, 7),
            "s": {"w": (1, 1, 6, 7)},
            "low": Conv(1, 5, 4),
            "high": Conv(1, 7, 4),
        }
    )

    def apply(p, x):
        low = relu(conv(p["c1"], x))
        x = relu(conv(p["c2"], low, 2))
        s = sigmoid(conv(p["s"], x.mean((1, 2), keepdims=True)))
        y = upsample(relu(conv(p["a"], x)) * s)
        return conv(p["low"], low) + conv(p["high"], y)

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] c1/b[0] c2/w[2] low/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] a/w[2] s/w[2]", scales=1),
            free(7, "a/w[3] a/b[0] s/w[3] high/w[2]", scales=1),
        ),
    )


def fpn():
    """A pyramid with a head shared by its levels."""
    p = weights(
        {
            "c1": Conv(3, 3, 5),
            "c2": Conv(3, 5, 6),
            "l1": Conv(1, 5, 7),
            "l2": Conv(1, 6, 7),
            "o1": Conv(3, 7, 8),
            "o2": Conv(3, 7, 8),
            "h": Conv(3, 8, 9),
            "k": Conv(1, 9, 4),
        }
    )

    def apply(p, x):
        c1 = relu(conv(p["c1"], x))
        c2 = relu(conv(p["c2"], c1, 2))
        p2 = conv(p["l2"], c2)
        p1 = conv(p["l1"], c1) + upsample(p2)

        def head(z):
            return conv(p["k"], relu(conv(p["h"], z)))

        return head(conv(p["o1"], p1)), head(conv(p["o2"], p2))

    # The pyramid's own channels are linear, and so are those in front of the head.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] c1/b[0] c2/w[2] l1/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] l2/w[2]", scales=1),
            free(7, "l?/w[3] l?/b[0] o?/w[2]", scales=1, signs=1),
            free(8, "o?/w[3] o?/b[0] h/w[2]", scales=1, signs=1),
            free(9, "h/w[3] h/b[0] k/w[2]", scales=1),
        ),
    )


def raft():
    """All pairs of pixels correlated, then a recurrent update of the flow."""
    p = weights(
        {
            "f1": Conv(3, 3, 5),
            "f2": Conv(3, 5, 6),
            "x1": Conv(3, 3, 7),
            "m": Conv(1, 20, 8),
            "z": Conv(3, 17, 7),
            "r": Conv(3, 17, 7),
            "q": Conv(3, 17, 7),
            "o": Conv(1, 7, 2),
        }
    )

    def apply(p, x, y):
        def f(v):
            return conv(p["f2"], relu(conv(p["f1"], v, 2)))

        a, b = f(x), f(y)
        c = jnp.einsum("bhwc,bijc->bhwij", a, b) / 6**0.5
        n, k = c.shape[0], c.shape[1]
        low = pool(c.reshape(-1, k, k, 1), "mean")
        c = jnp.concatenate([c.reshape(n, k, k, -1), low.reshape(n, k, k, -1)], axis=-1)
        h = jnp.tanh(conv(p["x1"], x, 2))
        flow = jnp.zeros((n, k, k, 2), x.dtype)
        for _ in range(2):
            m = jnp.concatenate([relu(conv(p["m"], c)), flow], -1)
            hm = jnp.concatenate([h, m], -1)
            z, r = sigmoid(conv(p["z"], hm)), sigmoid(conv(p["r"], hm))
            q = jnp.tanh(conv(p["q"], jnp.concatenate([r * h, m], -1)))
            h = (1 - z) * h + z * q
            flow = flow + conv(p["o"], h)
        return flow

    # Features meet only themselves: their scale is pinned, their sign is free.
    return Architecture(
        apply,
        p,
        (image(), image(seed=2)),
        (
            free(5, "f1/w[3] f1/b[0] f2/w[2]", scales=1),
            free(6, "f2/w[3] f2/b[0]", signs=1),
            free(
                7,
                "x1/w[3] x1/b[0] [zrq]/w[3] [zrq]/b[0] [zrq]/w[2].0 o/w[2]",
                signs=1,
            ),
            free(8, "m/w[3] m/b[0] [zrq]/w[2].1", scales=1),
        ),
    )


def unet_time():
    """Skips by concatenation, group norms, and an embedding of the time."""
    p = weights(
        {
            "t1": Dense(4, 9),
            "t2": Dense(9, 11),
            "c1": Conv(3, 3, 6),
            "n1": Norm(6),
            "c2": Conv(3, 6, 10),
            "tc": Dense(11, 10),
            "n2": Norm(10),
            "c3": Conv(3, 16, 7),
            "o": Conv(1, 7, 3),
        }
    )

    def apply(p, x, t):
        angle = t[:, None] * jnp.asarray([[1.0, 0.1]], t.dtype)
        t = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
        t = silu(dense(p["t2"], silu(dense(p["t1"], t))))
        a = silu(group_norm(p["n1"], conv(p["c1"], x)))
        b = conv(p["c2"], pool(a, "mean")) + dense(p["tc"], t)[:, None, None]
        b = silu(group_norm(p["n2"], b))
        y = jnp.concatenate([a, upsample(b)], -1)
        return conv(p["o"], relu(conv(p["c3"], y)))

    # A whole group that is flipped in front of its norm is flipped back by its scale.
    return Architecture(
        apply,
        p,
        (image(), normal(2)),
        (
            free(9, "t1/w[1] t1/b[0] t2/w[0]"),
            free(11, "t2/w[1] t2/b[0] tc/w[0]"),
            free(2, "c1/w[3].0 c1/b[0].0 n1/*[0].0 c2/w[2].0 c3/w[2].0", signs=1),
            free(3, "c1/w[3].1 c1/b[0].1 n1/*[0].1 c2/w[2].1 c3/w[2].1", over=(2,)),
            free(
                2,
                "c2/w[3].0 c2/b[0].0 tc/w[1].0 tc/b[0].0 n2/*[0].0 c3/w[2].2",
                signs=1,
            ),
            free(
                5,
                "c2/w[3].1 c2/b[0].1 tc/w[1].1 tc/b[0].1 n2/*[0].1 c3/w[2].3",
                over=(2,),
            ),
            free(7, "c3/w[3] c3/b[0] o/w[2]", scales=1),
        ),
    )


def pixel_shuffle():
    """Depth to space: channels are (2, 2, depth), and the first two become places."""
    p = weights({"c": Conv(3, 3, 20), "d": Conv(3, 5, 6), "o": Conv(3, 6, 3)})

    def apply(p, x):
        y = relu(conv(p["c"], x))
        b, h, w, _ = y.shape
        y = y.reshape(b, h, w, 2, 2, 5).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(b, 2 * h, 2 * w, 5)
        return conv(p["o"], relu(conv(p["d"], y)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c/w[3].2 c/b[0].2 d/w[2]", scales=1),
            free(6, "d/w[3] d/b[0] o/w[2]", scales=1),
        ),
    )


def autoencoder():
    """Strided convolutions down, transposed convolutions up."""
    p = weights(
        {
            "c1": Conv(3, 3, 5),
            "c2": Conv(3, 5, 6),
            "u1": Conv(3, 6, 7),
            "u2": Conv(3, 7, 3),
        }
    )

    def up(p, x):
        return (
            jax.lax.conv_transpose(x, p["w"], (2, 2), "SAME") + p["b"][None, None, None]
        )

    def apply(p, x):
        z = jnp.tanh(conv(p["c2"], relu(conv(p["c1"], x, 2)), 2))
        return up(p["u2"], relu(up(p["u1"], z)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] c1/b[0] c2/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] u1/w[2]", signs=1),
            free(7, "u1/w[3] u1/b[0] u2/w[2]", scales=1),
        ),
    )
