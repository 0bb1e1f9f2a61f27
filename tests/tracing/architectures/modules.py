"""Networks written with flax modules, whose programs are the library's own."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.tracing.architectures._parts import (
    Architecture,
    free,
    image,
    normal,
    weights,
)


def _linen(module, *inputs):
    """The function of a module, with generic weights of the shapes it asks for."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    params = weights(jax.tree.map(lambda x: tuple(x.shape), shapes))
    return module.apply, params, inputs


def flax_cnn():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True)(nn.Conv(5, (3, 3))(x))
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
            x = nn.GroupNorm(num_groups=2)(nn.Conv(6, (3, 3), strides=2)(x))
            x = nn.avg_pool(nn.relu(x), (2, 2), strides=(2, 2))
            return nn.Dense(4)(x.reshape(x.shape[0], -1))

    norm = "params/BatchNorm_0/*[0] batch_stats/BatchNorm_0/*[0]"
    conv = "params/Conv_{0}/kernel[3]{1} params/Conv_{0}/bias[0]{1}"
    last = "params/GroupNorm_0/*[0].{0} params/Dense_0/kernel[0]"
    # The flattened axis is one pixel times (groups, within); a group's sign passes
    # from the kernel to the scale of the norm.
    return Architecture(
        *_linen(Network(), image()),
        (
            free(5, f"{conv.format(0, '')} {norm} params/Conv_1/kernel[2]", scales=1),
            free(2, f"{conv.format(1, '.0')} {last.format(0)}.0", 1, signs=1),
            free(3, f"{conv.format(1, '.1')} {last.format(1)}.1", 1, over=(2,)),
        ),
        ("batch_stats",),
    )


def flax_attention():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(10)(x)
            y = nn.LayerNorm()(x)
            y = nn.MultiHeadDotProductAttention(2, qkv_features=12)(y)
            x = x + y
            return nn.Dense(3)(nn.RMSNorm()(x))

    at = "params/MultiHeadDotProductAttention_0"
    qkv = " ".join(
        f"{at}/{n}/kernel[{{0}}] {at}/{n}/bias[{{1}}]" for n in ("query", "key")
    )
    v = f"{at}/value/kernel[{{0}}] {at}/value/bias[{{1}}]"
    stream = (
        "params/Dense_0/kernel[1] params/Dense_0/bias[0] params/LayerNorm_0/*[0]"
        f" {at}/query/kernel[0] {at}/key/kernel[0] {at}/value/kernel[0]"
        f" {at}/out/kernel[2] {at}/out/bias[0] params/RMSNorm_0/scale[0]"
        " params/Dense_1/kernel[0]"
    )
    # The mean of the first norm pins the sign of the stream.
    return Architecture(
        *_linen(Network(), normal(2, 5, 3)),
        (
            free(10, stream, scales=2, signs=2),
            free(
                2,
                f"{qkv.format(1, 0)} {v.format(1, 0)} {at}/out/kernel[0]",
                scales=2,
                signs=2,
            ),
            free(6, qkv.format(2, 1), scales=1, signs=1, over=(2,)),
            free(6, f"{v.format(2, 1)} {at}/out/kernel[1]", 1, 1, over=(2,)),
        ),
    )


def flax_embedding():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, ids):
            embed = nn.Embed(9, 7)
            x = embed(ids)
            x = nn.tanh(nn.Dense(11)(x))
            x = nn.Dense(7)(x)
            return embed.attend(x)

    ids = np.asarray([[1, 5, 3], [8, 4, 0]], np.int32)
    # The embedding stands at both ends of one chain: its axis has two roles, and the
    # second dense layer writes what it reads again.
    return Architecture(
        *_linen(Network(), ids),
        (
            free(
                7,
                "params/Embed_0/embedding[1] params/Dense_0/kernel[0]"
                " params/Dense_1/kernel[1] params/Dense_1/bias[0]",
                scales=1,
                signs=1,
            ),
            free(
                11,
                "params/Dense_0/kernel[1] params/Dense_0/bias[0]"
                " params/Dense_1/kernel[0]",
                signs=1,
            ),
        ),
    )


def flax_mobile():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (3, 3))(x))
            x = nn.leaky_relu(nn.Conv(6, (3, 3), feature_group_count=6)(x))
            x = nn.ConvTranspose(7, (2, 2), strides=(2, 2))(x)
            return nn.Conv(2, (1, 1))(jnp.tanh(x))

    # The depthwise kernel adds a group of scales: written by it, read by the next.
    return Architecture(
        *_linen(Network(), image()),
        (
            free(
                6,
                "params/Conv_0/kernel[3] params/Conv_0/bias[0] params/Conv_1/kernel[3]"
                " params/Conv_1/bias[0] params/ConvTranspose_0/kernel[2]",
                scales=2,
            ),
            free(
                7,
                "params/ConvTranspose_0/kernel[3] params/ConvTranspose_0/bias[0]"
                " params/Conv_2/kernel[2]",
                signs=1,
            ),
        ),
    )
