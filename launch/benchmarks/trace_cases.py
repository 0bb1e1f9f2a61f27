"""Networks of published sizes, as shapes: no weight is ever in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Case(NamedTuple):
    """A function of parameters and inputs, given by their shapes."""

    apply: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]


def resnet(blocks: tuple[int, ...]) -> Case:
    """Return a bottleneck ResNet with BatchNorm, in Flax; (3, 4, 6, 3) is ResNet-50."""
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    return _of_module(_ResNet(blocks), images)


def vit(layers: int, width: int, heads: int) -> Case:
    """Return a vision transformer for patches of 16, in Flax; (12, 768, 12) is B."""
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    return _of_module(_ViT(layers, width, heads), images)


def gpt(layers: int, width: int, heads: int, *, scanned: bool = False) -> Case:
    """Return a GPT-2 in plain JAX; its layers one by one, or stacked under a scan.

    Args:
      layers: number of blocks.
      width: of the residual stream.
      heads: of each attention.
      scanned: stack the parameters of all blocks.
    """

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    def norm(*lead):
        return {"scale": shape(*lead, width), "bias": shape(*lead, width)}

    def dense(*lead, read, written):
        return {"kernel": shape(*lead, read, written), "bias": shape(*lead, written)}

    def block(*lead):
        attention = {
            name: {
                "kernel": shape(*lead, width, heads, width // heads),
                "bias": shape(*lead, heads, width // heads),
            }
            for name in ("query", "key", "value")
        }
        attention["out"] = dense(*lead, read=width, written=width)
        return {
            "norm_1": norm(*lead),
            "attention": attention,
            "norm_2": norm(*lead),
            "up": dense(*lead, read=width, written=4 * width),
            "down": dense(*lead, read=4 * width, written=width),
        }

    blocks = block(layers) if scanned else [block() for _ in range(layers)]
    params = {
        "tokens": shape(50257, width),
        "positions": shape(1024, width),
        "blocks": blocks,
        "norm": norm(),
    }
    tokens = jax.ShapeDtypeStruct((2, 64), jnp.int32)
    return Case(_gpt, params, (tokens,))


def _gpt(params, tokens):
    x = params["tokens"][tokens] + params["positions"][: tokens.shape[1]]
    if isinstance(params["blocks"], list):
        for block in params["blocks"]:
            x = _gpt_block(block, x)
    else:
        x, _ = jax.lax.scan(
            lambda x, block: (_gpt_block(block, x), None), x, params["blocks"]
        )
    return _layer_norm(params["norm"], x) @ params["tokens"].T


def _gpt_block(params, x):
    y, attention = _layer_norm(params["norm_1"], x), params["attention"]
    query, key, value = (
        jnp.einsum("btd,dhk->bthk", y, attention[name]["kernel"])
        + attention[name]["bias"]
        for name in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhk,bshk->bhqs", query, key) / query.shape[-1] ** 0.5
    seen = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    scores = jax.nn.softmax(jnp.where(seen, scores, -1e9))
    y = jnp.einsum("bhqs,bshk->bqhk", scores, value)
    x = x + _dense(attention["out"], y.reshape(x.shape))
    y = _dense(params["up"], _layer_norm(params["norm_2"], x))
    return x + _dense(params["down"], jax.nn.gelu(y))


def _layer_norm(params, x):
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * params["scale"] + params["bias"]


def _dense(params, x):
    return x @ params["kernel"] + params["bias"]


def _of_module(module, *inputs) -> Case:
    params = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return Case(module.apply, params, inputs)


class _ResNet(nn.Module):
    blocks: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        x = nn.relu(_norm()(nn.Conv(64, (7, 7), (2, 2), use_bias=False)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                x = _Bottleneck(64 * 2**stage, 1 + (stage > 0 and i == 0))(x)
        return nn.Dense(1000)(x.mean((1, 2)))


class _Bottleneck(nn.Module):
    width: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(_norm()(_conv(self.width, 1)(x)))
        y = nn.relu(_norm()(_conv(self.width, 3, self.stride)(y)))
        y = _norm()(_conv(4 * self.width, 1)(y))
        if x.shape != y.shape:
            x = _norm()(_conv(4 * self.width, 1, self.stride)(x))
        return nn.relu(x + y)


class _ViT(nn.Module):
    layers: int
    width: int
    heads: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (16, 16), (16, 16))(x)
        x = x.reshape(len(x), -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], 1)
        shape = (1, *x.shape[1:])
        x = x + self.param("positions", nn.initializers.zeros, shape)
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x))
            y = nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width)(y)
        return nn.Dense(1000)(nn.LayerNorm()(x)[:, 0])


def _conv(width, size, stride=1):
    return nn.Conv(width, (size, size), (stride, stride), use_bias=False)


def _norm():
    return nn.BatchNorm(use_running_average=True)
