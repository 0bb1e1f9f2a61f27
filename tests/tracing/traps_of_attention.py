"""More traps: heads, experts, gates, pixels and groups of channels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu, sigmoid, softmax

from tests.tracing.architectures._parts import normal
from tests.tracing.traps import trap

HEADS = {"q": (4, 3, 5), "k": (4, 3, 5), "v": (4, 3, 6), "o": (3, 6, 2)}
SERIES = (normal(2, 5, 4),)


def _attention(p, x, scores=lambda s: s, turn=lambda z: z, out="bhts,bshd,hdo->bto"):
    q, k = (turn(jnp.einsum("btd,dhk->bthk", x, p[n])) for n in "qk")
    s = scores(jnp.einsum("bthk,bshk->bhts", q, k))
    v = jnp.einsum("btd,dhk->bthk", x, p["v"])
    return jnp.einsum(out, softmax(s, -1), v, p["o"])


@trap("permute q[1]", "permute o[0]", shapes=HEADS, inputs=SERIES)
def slopes_of_heads(p, x):
    distance = np.abs(np.arange(5)[:, None] - np.arange(5)[None])
    slopes = np.asarray([0.5, 0.25, 0.125])
    bias = jnp.asarray(slopes[:, None, None] * distance, x.dtype)[None]
    return _attention(p, x, lambda s: s - bias)


@trap("scale q[2]", "scale k[2]", "scale q[1]", shapes=HEADS, inputs=SERIES)
def normalised_queries(p, x):
    unit = lambda z: z / jnp.sqrt((z * z).sum(-1, keepdims=True) + 1e-3)  # noqa: E731
    return _attention(p, x, turn=unit)


@trap("permute q[2]", "permute k[2]", shapes=HEADS, inputs=SERIES)
def turned_by_position(p, x):
    angle = np.arange(5)[:, None] * np.linspace(0.1, 1, 5)[None]
    phase = jnp.asarray(np.cos(angle), x.dtype)[None, :, None]
    return _attention(p, x, turn=lambda z: z * phase)


@trap("over v[2]", "over o[0]", shapes=HEADS | {"o": (6, 2)}, inputs=SERIES)
def heads_share_their_output(p, x):
    return _attention(p, x, out="bhts,bshd,do->bto")


@trap("scale q[1]", shapes=HEADS | {"b": (3,)}, inputs=SERIES)
def heads_with_a_shared_scale(p, x):
    s = lambda s: s * jnp.exp(p["q"].sum((0, 2)))[None, :, None, None]  # noqa: E731
    return _attention(p, x, s)


@trap("over w[2]", shapes={"w": (3, 4, 6), "v": (6, 2)})
def experts_share_their_output(p, x):
    return jnp.einsum("bef,fo->bo", relu(jnp.einsum("bd,edf->bef", x, p["w"])), p["v"])


@trap("over w[2]", shapes={"w": (3, 4, 6), "b": (6,), "v": (3, 6, 2)})
def experts_share_their_bias(p, x):
    h = relu(jnp.einsum("bd,edf->bef", x, p["w"]) + p["b"][None, None])
    return jnp.einsum("bef,efo->bo", h, p["v"])


@trap("permute w[0]", shapes={"w": (3, 4, 6), "v": (3, 6, 2)})
def experts_in_order(p, x):
    h = relu(jnp.einsum("bd,edf->bef", x, p["w"]))
    y = jnp.einsum("bef,efo->beo", h, p["v"])
    return y[:, 0] + 2 * y[:, 1] - jnp.tanh(y[:, 2])


@trap("over w[2]", shapes={"w": (3, 4, 6), "v": (3, 6, 2)})
def experts_compete(p, x):
    h = jnp.einsum("bd,edf->bef", x, p["w"])
    return jnp.einsum("bef,efo->bo", softmax(h, 1), p["v"])


@trap("sign w[1].0", "sign w[1].1", "scale w[1].2", shapes={"w": (4, 18), "d": (6, 2)})
def gates_have_no_sign(p, x):
    i, f, g = jnp.split(x @ p["w"], 3, -1)
    return (sigmoid(i) * jnp.tanh(g) + sigmoid(f)) @ p["d"]


@trap(
    "permute w[0]",
    "permute w[1]",
    "permute d[0].0",
    "permute d[0].1",
    shapes={"w": (3, 3, 2, 5), "d": (80, 2)},
    inputs=(normal(2, 4, 4, 2),),
)
def pixels(p, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, p["w"], (1, 1), "SAME", dimension_numbers=numbers
    )
    return relu(y).reshape(2, 80) @ p["d"]


@trap("permute w[2]", shapes={"w": (3, 4, 8), "d": (8, 2)}, inputs=(normal(2, 9, 8),))
def channels_across_groups(p, x):
    y = jax.lax.conv_general_dilated(
        x,
        p["w"],
        (1,),
        "SAME",
        dimension_numbers=("NHC", "HIO", "NHC"),
        feature_group_count=2,
    )
    return relu(y).mean(1) @ p["d"]
