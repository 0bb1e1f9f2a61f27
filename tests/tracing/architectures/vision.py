"""Vision networks with attention over patches and windows, or mixing of tokens."""

import jax.numpy as jnp
import numpy as np
from jax.nn import gelu, relu, sigmoid

from tests.tracing.architectures._parts import (
    Architecture,
    Attention,
    Conv,
    Dense,
    Norm,
    attention,
    attention_free,
    conv,
    dense,
    depthwise,
    free,
    image,
    layer_norm,
    normal,
    weights,
)

BLOCK = (
    "n1/*[0] at/q[0] at/k[0] at/v[0] at/o[2] at/ob[0] n2/*[0] m1/w[0] m2/w[1] m2/b[0]"
)


def block_shapes(d=12, heads=3, k=4, v=5, f=14):
    """Shapes of a pre-norm transformer block."""
    return {
        "n1": Norm(d),
        "at": Attention(d, heads, k, v),
        "n2": Norm(d),
        "m1": Dense(d, f),
        "m2": Dense(f, d),
    }


def block(p, x, bias=0.0):
    """A pre-norm transformer block."""
    x = x + attention(p["at"], layer_norm(p["n1"], x), bias=bias)
    return x + dense(p["m2"], gelu(dense(p["m1"], layer_norm(p["n2"], x))))


def _patches(p, x):
    x = conv(p, x, p["w"].shape[0], padding="VALID")
    return x.reshape(x.shape[0], -1, x.shape[-1])


def vit():
    shapes = block_shapes() | {
        "c": {"w": (4, 4, 3, 12), "b": (12,)},
        "cls": (1, 12),
        "pos": (5, 12),
        "n3": Norm(12),
        "d": Dense(12, 4),
    }

    def apply(p, x):
        x = _patches(p["c"], x)
        cls = jnp.broadcast_to(p["cls"], (x.shape[0], 1, 12))
        x = jnp.concatenate([cls, x], 1) + p["pos"][None]
        return dense(p["d"], layer_norm(p["n3"], block(p, x))[:, 0])

    # Three norms: three groups of scales and signs of what follows them.
    uses = f"{BLOCK} c/w[3] c/b[0] cls[1] pos[1] n3/*[0] d/w[0]"
    return Architecture(
        apply,
        weights(shapes),
        (image(),),
        (
            free(12, uses, scales=3, signs=3),
            *attention_free("at", 3, 4, 5),
            free(14, "m1/w[1] m1/b[0] m2/w[0]"),
        ),
    )


def _windows(x, w):
    b, h, _, d = x.shape
    n = h // w
    x = x.reshape(b, n, w, n, w, d).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b * n * n, w * w, d)


def _unwindow(x, w, h):
    d, n = x.shape[-1], h // w
    x = x.reshape(-1, n, n, w, w, d).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, h, h, d)


def swin():
    """Shifted windows, a table of relative positions, a mask, merging of patches."""
    shapes = block_shapes() | {
        "c": {"w": (2, 2, 3, 12), "b": (12,)},
        "table": (9, 3),
        "nm": Norm(48),
        "r": {"w": (48, 10)},
        "n3": Norm(10),
        "d": Dense(10, 4),
    }
    grid = np.stack(np.meshgrid([0, 1], [0, 1], indexing="ij"), -1).reshape(4, 2)
    offset = grid[:, None] - grid[None] + 1
    index = offset[..., 0] * 3 + offset[..., 1]
    mask = np.zeros((4, 1, 4, 4), np.float32)
    mask[-1, 0, :2, 2:] = mask[-1, 0, 2:, :2] = -10.0

    def apply(p, x):
        x = conv(p["c"], x, 2, padding="VALID")
        bias = p["table"][index].transpose(2, 0, 1)[None]
        y = jnp.roll(layer_norm(p["n1"], x), (-1, -1), (1, 2))
        y = attention(p["at"], _windows(y, 2), bias=bias + np.tile(mask, (2, 1, 1, 1)))
        x = x + jnp.roll(_unwindow(y, 2, 4), (1, 1), (1, 2))
        x = x + dense(p["m2"], gelu(dense(p["m1"], layer_norm(p["n2"], x))))
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = dense(p["r"], layer_norm(p["nm"], jnp.concatenate(corners, -1)))
        return dense(p["d"], layer_norm(p["n3"], x).mean((1, 2)))

    # Four corners meet in one norm: each piece of its scale and bias has a group of
    # its own against the rows that read it.
    uses = f"{BLOCK} c/w[3] c/b[0] nm/*[0].? r/w[0].?"
    heads, *dimensions = attention_free("at", 3, 4, 5)
    return Architecture(
        apply,
        weights(shapes),
        (image(),),
        (
            free(12, uses, scales=6, signs=6),
            heads._replace(uses=heads.uses | {"table[1]"}),
            *dimensions,
            free(14, "m1/w[1] m1/b[0] m2/w[0]"),
            free(10, "r/w[1] n3/*[0] d/w[0]", scales=1, signs=1),
        ),
    )


def maxvit():
    """A gated depthwise convolution, attention in windows, then over a grid."""
    shapes = {
        "c": Conv(3, 3, 12),
        "e": Conv(1, 12, 9),
        "w": Conv(3, 9, 9, groups=9),
        "s1": Dense(9, 4),
        "s2": Dense(4, 9),
        "p": Conv(1, 9, 12),
        "window": block_shapes(),
        "grid": block_shapes(heads=2, k=6, v=7, f=13),
        "d": Dense(12, 4),
    }

    def apply(p, x):
        x = conv(p["c"], x, 2)
        y = gelu(depthwise(p["w"], gelu(conv(p["e"], x))))
        s = dense(p["s2"], relu(dense(p["s1"], y.mean((1, 2)))))
        x = x + conv(p["p"], y * sigmoid(s)[:, None, None])
        x = _unwindow(block(p["window"], _windows(x, 2)), 2, 4)
        b, h, _, d = x.shape
        y = x.reshape(b, 2, 2, 2, 2, d).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 4, d)
        y = block(p["grid"], y).reshape(b, 2, 2, 2, 2, d).transpose(0, 3, 1, 4, 2, 5)
        return dense(p["d"], y.reshape(b, h, h, d).mean((1, 2)))

    blocks = " ".join(f"{n}/{u}" for n in ("window", "grid") for u in BLOCK.split())
    return Architecture(
        apply,
        weights(shapes),
        (image(),),
        (
            free(
                12,
                f"{blocks} c/w[3] c/b[0] e/w[2] p/w[3] p/b[0] d/w[0]",
                scales=4,
                signs=4,
            ),
            free(9, "e/w[3] e/b[0] w/w[3] w/b[0] s1/w[0] s2/w[1] s2/b[0] p/w[2]"),
            free(4, "s1/w[1] s1/b[0] s2/w[0]", scales=1),
            *attention_free("window/at", 3, 4, 5),
            free(14, "window/m1/w[1] window/m1/b[0] window/m2/w[0]"),
            *attention_free("grid/at", 2, 6, 7),
            free(13, "grid/m1/w[1] grid/m1/b[0] grid/m2/w[0]"),
        ),
    )


def mixer():
    """Dense layers over tokens, then over channels."""
    shapes = {
        "c": {"w": (4, 4, 3, 10), "b": (10,)},
        "n1": Norm(10),
        "t1": Dense(4, 6),
        "t2": Dense(6, 4),
        "n2": Norm(10),
        "m1": Dense(10, 13),
        "m2": Dense(13, 10),
        "n3": Norm(10),
        "d": Dense(10, 3),
    }

    def apply(p, x):
        x = _patches(p["c"], x)
        y = layer_norm(p["n1"], x).swapaxes(1, 2)
        x = x + dense(p["t2"], gelu(dense(p["t1"], y))).swapaxes(1, 2)
        x = x + dense(p["m2"], gelu(dense(p["m1"], layer_norm(p["n2"], x))))
        return dense(p["d"], layer_norm(p["n3"], x).mean(1))

    # What the first norm writes passes a GELU, channel by channel: no scale of its own.
    stream = "c/w[3] c/b[0] n1/*[0] n2/*[0] m1/w[0] m2/w[1] m2/b[0] n3/*[0] d/w[0]"
    return Architecture(
        apply,
        weights(shapes),
        (image(),),
        (
            free(10, stream, scales=2, signs=2),
            free(6, "t1/w[1] t1/b[0] t2/w[0]"),
            free(13, "m1/w[1] m1/b[0] m2/w[0]"),
        ),
    )


def gmlp():
    """Half of the hidden channels gates the other after a dense layer over tokens."""
    shapes = {
        "c": Dense(3, 8),
        "n1": Norm(8),
        "m1": Dense(8, 14),
        "n2": Norm(7),
        "s": Dense(5, 5),
        "m2": Dense(7, 8),
        "d": Dense(8, 4),
    }

    def apply(p, x):
        x = dense(p["c"], x)
        u, v = jnp.split(gelu(dense(p["m1"], layer_norm(p["n1"], x))), 2, -1)
        v = layer_norm(p["n2"], v).swapaxes(1, 2)
        v = dense(p["s"], v).swapaxes(1, 2)
        return dense(p["d"], (x + dense(p["m2"], u * v)).mean(1))

    # The bias over tokens is added to every channel alike: it pins the scale of v.
    return Architecture(
        apply,
        weights(shapes),
        (normal(2, 5, 3),),
        (
            free(
                8,
                "c/w[1] c/b[0] n1/*[0] m1/w[0] m2/w[1] m2/b[0] d/w[0]",
                scales=1,
                signs=1,
            ),
            free(7, "m1/w[1].? m1/b[0].? n2/*[0] m2/w[0]"),
        ),
    )


def perceiver():
    """Learned latents that read the input: they may be permuted themselves."""
    shapes = {
        "c": Dense(3, 10),
        "z": (6, 12),
        "k": (10, 5),
        "q": (12, 5),
        "v": (10, 7),
        "o": (7, 12),
        "block": block_shapes(),
        "d": Dense(12, 4),
    }

    def apply(p, x):
        x = dense(p["c"], x)
        z = jnp.broadcast_to(p["z"][None], (x.shape[0], 6, 12))
        s = jnp.einsum("bnk,btk->bnt", z @ p["q"], x @ p["k"])
        a = jnp.exp(s - s.max(-1, keepdims=True))
        a = a / a.sum(-1, keepdims=True)
        z = z + jnp.einsum("bnt,btv->bnv", a, x @ p["v"]) @ p["o"]
        return dense(p["d"], block(p["block"], z).mean(1))

    stream = " ".join(f"block/{u}" for u in BLOCK.split())
    return Architecture(
        apply,
        weights(shapes),
        (normal(2, 8, 3),),
        (
            free(6, "z[0]"),
            free(10, "c/w[1] c/b[0] k[0] v[0]", scales=1, signs=1),
            free(5, "q[1] k[1]", scales=1, signs=1),
            free(7, "v[1] o[0]", scales=1, signs=1),
            free(12, f"{stream} z[1] q[0] o[1] d/w[0]", scales=2, signs=2),
            *attention_free("block/at", 3, 4, 5),
            free(14, "block/m1/w[1] block/m1/b[0] block/m2/w[0]"),
        ),
    )
