"""What the small architectures are made of: layers, weights, lists of what is free."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Free(NamedTuple):
    """One space of neurons that a correct tracer must find.

    Attributes:
      size: its number of neurons.
      uses: the parameter axes that run over it: "dense/w[1]" is axis 1, "dense/w[1].0"
        the first of several atoms on that axis; wildcards are allowed.
      scales, signs: the numbers of its independent groups of scales and of signs.
      over: sizes of the spaces for each of whose indices it may be chosen anew.
      permuted: False where the order is pinned and only scales or signs are free.
    """

    size: int
    uses: frozenset[str]
    scales: int = 0
    signs: int = 0
    over: tuple[int, ...] = ()
    permuted: bool = True


class Architecture(NamedTuple):
    """A network, what it is called with, and the hand-written list of what is free."""

    apply: Callable
    params: Any
    inputs: tuple
    free: tuple[Free, ...]
    statistics: tuple[str, ...] | None = None


def free(size, uses, scales=0, signs=0, over=(), permuted=True):
    """One entry of a list; `uses` separated by blanks."""
    return Free(
        size, frozenset(uses.split()), scales, signs, tuple(sorted(over)), permuted
    )


def weights(shapes, seed=0):
    """Generic float32 arrays for a tree of shapes; scales and variances positive."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        x = rng.normal(size=shape) * 0.9 / max(math.prod(shape[:-1]), 2) ** 0.4
        name = path[-1].key
        x = np.exp(x) if name in ("scale", "var") else x
        return np.asarray(x, np.float32)

    return jax.tree_util.tree_map_with_path(
        leaf, shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def running(params):
    """The names of the parameters that are statistics of data."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in flat]
    return tuple(n for n in names if n.split("/")[-1] in ("mean", "var"))


def normal(*shape, seed=1):
    """An input."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def image(size=8, channels=3, seed=1):
    """A batch of two images."""
    return normal(2, size, size, channels, seed=seed)


def Dense(i, o):
    """Shapes of a dense layer."""
    return {"w": (i, o), "b": (o,)}


def Conv(k, i, o, groups=1):
    """Shapes of a convolution with a bias."""
    return {"w": (k, k, i // groups, o), "b": (o,)}


def Kernel(k, i, o, groups=1):
    """Shapes of a convolution that a normalisation follows."""
    return {"w": (k, k, i // groups, o)}


def Norm(n):
    """Shapes of a normalisation without statistics."""
    return {"scale": (n,), "b": (n,)}


def Batch(n):
    """Shapes of a batch normalisation."""
    return {"scale": (n,), "b": (n,), "mean": (n,), "var": (n,)}


def wide(x, y):
    """A vector over the last axis, with the number of axes of `y`."""
    return jnp.reshape(x, (1,) * (y.ndim - 1) + (-1,))


def dense(p, x):
    """A dense layer over the last axis, with a bias where there is one."""
    y = x @ p["w"]
    return y + wide(p["b"], y) if "b" in p else y


def conv(p, x, stride=1, groups=1, padding="SAME", dilation=1):
    """A convolution of images, or of series where the kernel has one spatial axis."""
    n = x.ndim - 2
    axes = "HW"[:n]
    y = jax.lax.conv_general_dilated(
        x,
        p["w"],
        (stride,) * n,
        padding,
        rhs_dilation=(dilation,) * n,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )
    return y + wide(p["b"], y) if "b" in p else y


def depthwise(p, x, stride=1):
    """A convolution of every channel by itself."""
    return conv(p, x, stride, groups=x.shape[-1])


def layer_norm(p, x):
    """A normalisation over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    x = x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * wide(p["scale"], x) + wide(p["b"], x)


def rms_norm(scale, x):
    """A normalisation over the last axis by its sum of squares alone."""
    x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    return x * wide(scale, x)


def batch_norm(p, x):
    """A normalisation by running statistics."""
    x = (x - wide(p["mean"], x)) * wide(jax.lax.rsqrt(p["var"] + 1e-5), x)
    return x * wide(p["scale"], x) + wide(p["b"], x)


def group_norm(p, x, groups=2):
    """A normalisation over groups of channels and all positions."""
    y = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    y = y - y.mean((1, 3), keepdims=True)
    y = y * jax.lax.rsqrt((y * y).mean((1, 3), keepdims=True) + 1e-5)
    y = y.reshape(x.shape)
    return y * wide(p["scale"], y) + wide(p["b"], y)


def pool(x, kind="max", size=2, stride=2, padding="VALID"):
    """Pooling over windows."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    if kind == "max":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, padding)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, padding)
    return total / size**2


def upsample(x, k=2):
    """Every pixel repeated, as nearest neighbours are."""
    return jnp.repeat(jnp.repeat(x, k, 1), k, 2)


def attend(q, k, v, bias=0.0):
    """Attention of arrays [B, T, heads, dimensions]."""
    s = jnp.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    a = jax.nn.softmax(s + bias, -1)
    return jnp.einsum("bhts,bshd->bthd", a, v)


def Attention(d, heads, k, v):
    """Shapes of an attention with `k` query and `v` value dimensions per head."""
    return {
        "q": (d, heads, k),
        "k": (d, heads, k),
        "v": (d, heads, v),
        "o": (heads, v, d),
        "qb": (heads, k),
        "ob": (d,),
    }


def attention(p, x, y=None, bias=0.0):
    """Attention of `x` to `y`, or to itself."""
    y = x if y is None else y
    q = jnp.einsum("btd,dhk->bthk", x, p["q"]) + p["qb"][None, None]
    k = jnp.einsum("btd,dhk->bthk", y, p["k"])
    v = jnp.einsum("btd,dhk->bthk", y, p["v"])
    z = jnp.einsum("bthk,hkd->btd", attend(q, k, v, bias), p["o"])
    return z + wide(p["ob"], z)


def attention_free(path, heads, k, v):
    """What one attention adds: heads, and two spaces of dimensions over them.

    Queries against keys and values against outputs are two groups of scales and signs.
    """
    q = " ".join(f"{path}/{n}" for n in ("q[2]", "k[2]", "qb[1]"))
    return (
        free(
            heads,
            f"{path}/q[1] {path}/k[1] {path}/v[1] {path}/o[0] {path}/qb[0]",
            scales=2,
            signs=2,
        ),
        free(k, q, scales=1, signs=1, over=(heads,)),
        free(v, f"{path}/v[2] {path}/o[1]", scales=1, signs=1, over=(heads,)),
    )
