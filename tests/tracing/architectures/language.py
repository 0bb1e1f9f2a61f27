"""Transformers over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import gelu, relu, silu, softmax

from tests.tracing.architectures._parts import (
    Architecture,
    Dense,
    Norm,
    attention,
    attention_free,
    dense,
    free,
    layer_norm,
    normal,
    rms_norm,
    weights,
)
from tests.tracing.architectures.vision import BLOCK, block, block_shapes

IDS = np.asarray([[1, 5, 3, 2, 8], [4, 4, 0, 10, 9]], np.int32)
CAUSAL = np.where(np.tril(np.ones((5, 5), bool)), 0.0, -1e9).astype(np.float32)


def _gpt_shapes():
    return {"emb": (11, 12), "pos": (5, 12), "n3": Norm(12), "head": (12, 11)}


def gpt():
    p = weights(
        _gpt_shapes() | {"a": block_shapes(), "b": block_shapes(12, 2, 6, 7, 9)}
    )

    def apply(p, ids):
        x = p["emb"][ids] + p["pos"][None]
        x = block(p["b"], block(p["a"], x, CAUSAL[None, None]), CAUSAL[None, None])
        return layer_norm(p["n3"], x) @ p["head"]

    blocks = " ".join(f"{n}/{u}" for n in "ab" for u in BLOCK.split())
    uses = f"{blocks} emb[1] pos[1] n3/*[0] head[0]"
    return Architecture(
        apply,
        p,
        (IDS,),
        (
            free(12, uses, scales=5, signs=5),
            *attention_free("a/at", 3, 4, 5),
            *attention_free("b/at", 2, 6, 7),
            free(14, "a/m1/w[1] a/m1/b[0] a/m2/w[0]"),
            free(9, "b/m1/w[1] b/m1/b[0] b/m2/w[0]"),
        ),
    )


def _stacked(shapes, n):
    def stack(s):
        return (n, *s)

    return jax.tree.map(stack, shapes, is_leaf=lambda s: isinstance(s, tuple))


def _later(entry, layers):
    """The entry of one block, for blocks stacked along a first axis."""
    uses = set()
    for use in entry.uses:
        path, axis = use[:-1].split("[")
        uses.add(f"{path}[{int(axis) + 1}]")
    return entry._replace(
        uses=frozenset(uses), over=tuple(sorted((*entry.over, layers)))
    )


def gpt_scanned():
    """Layers stacked along a first axis: heads and units over layers."""
    layers = 6
    p = weights(_gpt_shapes() | {"s": _stacked(block_shapes(), layers)})

    def apply(p, ids):
        x = p["emb"][ids] + p["pos"][None]

        def step(x, w):
            return (block(w, x, CAUSAL[None, None]), None)

        x, _ = jax.lax.scan(step, x, p["s"])
        return layer_norm(p["n3"], x) @ p["head"]

    inner = (
        *attention_free("s/at", 3, 4, 5),
        free(14, "s/m1/w[1] s/m1/b[0] s/m2/w[0]"),
    )
    stream = free(12, " ".join(f"s/{u}" for u in BLOCK.split()))
    uses = _later(stream, layers).uses | {"emb[1]", "pos[1]", "n3/*[0]", "head[0]"}
    return Architecture(
        apply,
        p,
        (IDS,),
        (
            free(12, " ".join(uses), scales=3, signs=3),
            *(_later(entry, layers) for entry in inner),
        ),
    )


def _rotate(x):
    """Rotary positions; `x` is [B, T, ..., D]."""
    d = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * 100.0 ** (-np.arange(d) / d)[None]
    shape = (1, x.shape[1], *(1,) * (x.ndim - 3), d)
    c, s = (jnp.asarray(f(angle).reshape(shape), x.dtype) for f in (np.cos, np.sin))
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * c - b * s, a * s + b * c], -1)


def llama():
    """Scanned, RMSNorm, rotary positions, grouped queries, SwiGLU, tied embeddings."""
    n, d, g, r, k, v, f = 6, 12, 2, 3, 10, 7, 14
    p = weights(
        {
            "emb": (11, d),
            "nf": {"scale": (d,)},
            "s": {
                "n1": {"scale": (n, d)},
                "q": (n, d, g * r * k),
                "k": (n, d, g * k),
                "v": (n, d, g * v),
                "o": (n, g * r * v, d),
                "n2": {"scale": (n, d)},
                "gate": (n, d, f),
                "up": (n, d, f),
                "down": (n, f, d),
            },
        }
    )

    def step(x, w):
        b, t, _ = x.shape
        y = rms_norm(w["n1"]["scale"], x)
        q = _rotate((y @ w["q"]).reshape(b, t, g, r, k))
        key = _rotate((y @ w["k"]).reshape(b, t, g, k))
        s = jnp.einsum("btgrd,bsgd->bgrts", q, key) / k**0.5
        a = softmax(s + CAUSAL[None, None, None], -1)
        z = jnp.einsum("bgrts,bsgd->btgrd", a, (y @ w["v"]).reshape(b, t, g, v))
        x = x + z.reshape(b, t, -1) @ w["o"]
        y = rms_norm(w["n2"]["scale"], x)
        return x + (silu(y @ w["gate"]) * (y @ w["up"])) @ w["down"], None

    def apply(p, ids):
        x, _ = jax.lax.scan(step, p["emb"][ids], p["s"])
        return rms_norm(p["nf"]["scale"], x) @ p["emb"].T

    # Rotations pin the order of query dimensions, and both halves take one scale. The
    # stream's own sign is free under sums of squares, and two norms have groups; the
    # last norm has none, as tied embeddings stand on both sides of it.
    stream = "emb[1] nf/*[0] s/n?/*[1] s/[qkv][1] s/o[2] s/gate[1] s/up[1] s/down[2]"
    return Architecture(
        apply,
        p,
        (IDS,),
        (
            free(d, stream, scales=2, signs=3),
            free(g, "s/[qkv][2].0 s/o[1].0", scales=2, signs=2, over=(n,)),
            free(r, "s/q[2].1 s/o[1].1", over=(n, g)),
            free(
                k // 2,
                "s/q[2].2 s/q[2].3 s/k[2].1 s/k[2].2",
                scales=1,
                signs=1,
                over=(n, g),
                permuted=False,
            ),
            free(v, "s/v[2].1 s/o[1].2", scales=1, signs=1, over=(n, g)),
            free(f, "s/gate[2] s/up[2] s/down[1]", scales=1, signs=1, over=(n,)),
        ),
    )


def bert():
    """Norms after the residual sums, types of segments, and a pooled first token."""
    p = weights(
        {
            "emb": (11, 12),
            "pos": (5, 12),
            "type": (2, 12),
            "n0": Norm(12),
            **block_shapes(),
            "pool": Dense(12, 10),
            "d": Dense(10, 3),
        }
    )

    def apply(p, ids, types):
        x = p["emb"][ids] + p["pos"][None] + p["type"][types]
        x = layer_norm(p["n0"], x)
        x = layer_norm(p["n1"], x + attention(p["at"], x))
        x = layer_norm(p["n2"], x + dense(p["m2"], gelu(dense(p["m1"], x))))
        return dense(p["d"], jnp.tanh(dense(p["pool"], x[:, 0])))

    # All norms but the last write into a sum that another norm reads.
    stream = f"{BLOCK} emb[1] pos[1] type[1] n0/*[0] pool/w[0]"
    return Architecture(
        apply,
        p,
        (IDS, (IDS > 4).astype(np.int32)),
        (
            free(12, stream, scales=1, signs=1),
            *attention_free("at", 3, 4, 5),
            free(14, "m1/w[1] m1/b[0] m2/w[0]"),
            free(10, "pool/w[1] pool/b[0] d/w[0]", signs=1),
        ),
    )


def t5():
    """RMSNorm and a table of biases by distance, one column per head."""
    p = weights(
        {
            "emb": (11, 12),
            "n1": {"scale": (12,)},
            "qkv": {"q": (12, 3, 4), "k": (12, 3, 4), "v": (12, 3, 5)},
            "o": (3, 5, 12),
            "table": (4, 3),
            "n2": {"scale": (12,)},
            "wi": (12, 14),
            "wo": (14, 12),
            "d": (12, 2),
        }
    )
    distance = np.minimum(np.abs(np.arange(5)[:, None] - np.arange(5)[None]), 3)

    def apply(p, ids):
        x = p["emb"][ids]
        y = rms_norm(p["n1"]["scale"], x)
        q, k, v = (jnp.einsum("btd,dhk->bthk", y, p["qkv"][n]) for n in "qkv")
        s = jnp.einsum("bthk,bshk->bhts", q, k)
        s = s + jnp.take(p["table"], distance, axis=0).transpose(2, 0, 1)[None]
        x = x + jnp.einsum("bhts,bshk,hkd->btd", softmax(s, -1), v, p["o"])
        x = x + relu(rms_norm(p["n2"]["scale"], x) @ p["wi"]) @ p["wo"]
        return x.mean(1) @ p["d"]

    stream = "emb[1] n?/*[0] qkv/?[0] o[2] wi[0] wo[1] d[0]"
    return Architecture(
        apply,
        p,
        (IDS,),
        (
            free(12, stream, scales=2, signs=3),
            free(3, "qkv/?[1] o[0] table[1]", scales=2, signs=2),
            free(4, "qkv/q[2] qkv/k[2]", scales=1, signs=1, over=(3,)),
            free(5, "qkv/v[2] o[1]", scales=1, signs=1, over=(3,)),
            free(14, "wi[1] wo[0]", scales=1),
        ),
    )


def _fused(view):
    """One matrix for queries, keys and values."""
    p = weights(
        {
            "c": Dense(3, 11),
            "n": Norm(11),
            "qkv": Dense(11, 36),
            "o": Dense(12, 11),
            "d": Dense(11, 2),
        }
    )

    def apply(p, x):
        x = dense(p["c"], x)
        b, t, _ = x.shape
        y = dense(p["qkv"], layer_norm(p["n"], x))
        if view:
            q, k, v = y.reshape(b, t, 3, 3, 4).transpose(2, 0, 3, 1, 4)
        else:
            q, k, v = (
                z.reshape(b, t, 3, 4).transpose(0, 2, 1, 3) for z in jnp.split(y, 3, -1)
            )
        a = softmax(q @ k.swapaxes(-1, -2) / 2.0, -1)
        z = (a @ v).transpose(0, 2, 1, 3).reshape(b, t, 12)
        return dense(p["d"], x + dense(p["o"], z))

    stream = "c/w[1] c/b[0] n/*[0] qkv/w[0] o/w[1] o/b[0] d/w[0]"
    return apply, p, free(11, stream, scales=1, signs=1)


def qkv_split():
    apply, p, stream = _fused(view=False)

    # Pieces (heads, dimensions) of queries, keys and values, one after the other.
    def at(*ks):
        return " ".join(f"qkv/w[1].{k} qkv/b[0].{k}" for k in ks)

    return Architecture(
        apply,
        p,
        (normal(2, 5, 3),),
        (
            stream,
            free(3, at(0, 2, 4) + " o/w[0].0", scales=2, signs=2),
            free(4, at(1, 3), scales=1, signs=1, over=(3,)),
            free(4, at(5) + " o/w[0].1", scales=1, signs=1, over=(3,)),
        ),
    )


def qkv_view():
    apply, p, stream = _fused(view=True)

    # The view is (3, heads, dimensions); taken apart into pieces it is the same matrix.
    def at(*ks):
        return " ".join(f"qkv/w[1].{k} qkv/b[0].{k}" for k in ks)

    return Architecture(
        apply,
        p,
        (normal(2, 5, 3),),
        (
            stream,
            free(3, at(0, 2, 4) + " o/w[0].0", scales=2, signs=2),
            free(4, at(1, 3), scales=1, signs=1, over=(3,)),
            free(4, at(5) + " o/w[0].1", scales=1, signs=1, over=(3,)),
        ),
    )
