"""Mixtures of experts, networks written by networks, capsules and graphs."""

import jax
import jax.numpy as jnp
from jax.nn import relu, softmax

from tests.tracing.architectures._parts import (
    Architecture,
    Dense,
    dense,
    free,
    normal,
    weights,
)


def _mixture(gates):
    p = weights(
        {
            "c": Dense(4, 8),
            "r": Dense(8, 5),
            "w1": (5, 8, 9),
            "w2": (5, 9, 7),
            "d": Dense(7, 3),
        }
    )

    def apply(p, x):
        x = dense(p["c"], x)
        g = gates(dense(p["r"], x))
        y = jnp.einsum("bd,edf->bef", x, p["w1"])
        y = jnp.einsum("bef,efo,be->bo", relu(y), p["w2"], g)
        return dense(p["d"], y)

    # Hidden units scale for each expert, and so does every expert as a whole.
    return Architecture(
        apply,
        p,
        (normal(6, 4),),
        (
            free(8, "c/w[1] c/b[0] r/w[0] w1[1]", scales=1, signs=1),
            free(5, "r/w[1] r/b[0] w1[0] w2[0]", scales=1),
            free(9, "w1[2] w2[1]", scales=1, over=(5,)),
            free(7, "w2[2] d/w[0]", scales=1, signs=1),
        ),
    )


def moe_dense():
    return _mixture(lambda s: softmax(s, -1))


def moe_threshold():
    """Sparse gates by comparison with the second largest."""

    def gates(s):
        least = jax.lax.top_k(s, 2)[0][:, 1:]
        return softmax(jnp.where(s >= least, s, -1e9), -1)

    return _mixture(gates)


def moe_one_hot():
    """Sparse gates by the indices of the two largest."""

    def gates(s):
        value, index = jax.lax.top_k(s, 2)
        hot = jax.nn.one_hot(index, 5, dtype=s.dtype)
        return jnp.einsum("bk,bke->be", softmax(value, -1), hot)

    return _mixture(gates)


def moe_gather():
    """The weights of the two best experts, gathered by their indices."""
    p = _mixture(lambda s: s).params

    def apply(p, x):
        x = dense(p["c"], x)
        value, index = jax.lax.top_k(dense(p["r"], x), 2)
        y = relu(jnp.einsum("bd,bkdf->bkf", x, p["w1"][index]))
        y = jnp.einsum("bkf,bkfo,bk->bo", y, p["w2"][index], softmax(value, -1))
        return dense(p["d"], y)

    return _mixture(lambda s: s)._replace(apply=apply, params=p)


def hypernetwork():
    """A network that writes the weights of another, which is permuted by its rows."""
    p = weights({"h": Dense(4, 9), "w": Dense(9, 15), "b": Dense(9, 5), "v": (9, 5, 2)})

    def apply(p, z, x):
        z = relu(dense(p["h"], z))
        w = dense(p["w"], z).reshape(2, 3, 5)
        y = jnp.tanh(jnp.einsum("bi,bih->bh", x, w) + dense(p["b"], z))
        return jnp.einsum("bh,bho->bo", y, jnp.einsum("bz,zho->bho", z, p["v"]))

    return Architecture(
        apply,
        p,
        (normal(2, 4), normal(2, 3, seed=2)),
        (
            free(9, "h/w[1] h/b[0] w/w[0] b/w[0] v[0]", scales=1),
            free(5, "w/w[1].1 w/b[0].1 b/w[1] b/b[0] v[1]", signs=1),
        ),
    )


def capsules():
    """Votes of capsules, one step of routing by agreement, lengths as outputs."""
    n, m, k, q = 5, 3, 4, 6
    p = weights({"d": Dense(7, n * k), "w": (n, m, k, q)})

    def squash(x):
        s = (x * x).sum(-1, keepdims=True)
        return x * jnp.sqrt(s) / (1 + s)

    def apply(p, x):
        u = squash(dense(p["d"], x).reshape(2, n, k))
        u = jnp.einsum("bnp,nmpq->bnmq", u, p["w"])
        v = squash(u.mean(1))
        c = softmax(jnp.einsum("bnmq,bmq->bnm", u, v), -1)
        v = squash(jnp.einsum("bnm,bnmq->bmq", c, u))
        return (v * v).sum(-1)

    # Lengths pin scales; signs of capsules, of their entries and of votes are free.
    return Architecture(
        apply,
        p,
        (normal(2, 7),),
        (
            free(n, "d/w[1].0 d/b[0].0 w[0]", signs=1),
            free(k, "d/w[1].1 d/b[0].1 w[2]", signs=1, over=(n,)),
            free(q, "w[3]", signs=1, over=(m,)),
        ),
    )


def graph_sum():
    """Messages along given edges, summed at their receivers."""
    p = weights(
        {"e": Dense(3, 5), "m": Dense(5, 6), "u": Dense(11, 7), "d": Dense(7, 2)}
    )

    def apply(p, nodes, senders, receivers):
        x = relu(dense(p["e"], nodes))
        m = relu(dense(p["m"], x[senders]))
        m = jax.ops.segment_sum(m, receivers, num_segments=4)
        x = relu(dense(p["u"], jnp.concatenate([x, m], -1)))
        return dense(p["d"], x.sum(0))

    edges = jnp.asarray([0, 1, 2, 3, 0]), jnp.asarray([1, 2, 3, 0, 2])
    return Architecture(
        apply,
        p,
        (normal(4, 3), *edges),
        (
            free(5, "e/w[1] e/b[0] m/w[0] u/w[0].0", scales=1),
            free(6, "m/w[1] m/b[0] u/w[0].1", scales=1),
            free(7, "u/w[1] u/b[0] d/w[0]", scales=1),
        ),
    )


def graph_attention():
    """Attention along edges, normalised over the edges of a receiver."""
    p = weights(
        {
            "e": Dense(3, 5),
            "w": (5, 2, 6),
            "s": (2, 6),
            "r": (2, 6),
            "d": (2, 6, 4),
        }
    )

    def apply(p, nodes, senders, receivers):
        x = jnp.einsum("ni,ihd->nhd", jnp.tanh(dense(p["e"], nodes)), p["w"])
        s = (x * p["s"][None]).sum(-1)[senders] + (x * p["r"][None]).sum(-1)[receivers]
        a = jnp.exp(jax.nn.leaky_relu(s))
        a = a / jax.ops.segment_sum(a, receivers, num_segments=4)[receivers]
        y = jax.ops.segment_sum(a[..., None] * x[senders], receivers, num_segments=4)
        return jnp.einsum("nhd,hdo->no", y, p["d"])

    edges = jnp.asarray([0, 1, 2, 3, 0]), jnp.asarray([1, 2, 3, 0, 2])
    return Architecture(
        apply,
        p,
        (normal(4, 3), *edges),
        (
            free(5, "e/w[1] e/b[0] w[0]", signs=1),
            free(2, "w[1] s[0] r[0] d[0]", scales=1, signs=1),
            free(6, "w[2] s[1] r[1] d[1]", scales=1, signs=1, over=(2,)),
        ),
    )


def lora():
    """Low-rank updates beside the weights."""
    p = weights(
        {
            "d1": Dense(5, 9),
            "a1": (5, 2),
            "b1": (2, 9),
            "d2": Dense(9, 4),
            "a2": (9, 3),
            "b2": (3, 4),
        }
    )

    def apply(p, x):
        x = relu(dense(p["d1"], x) + x @ p["a1"] @ p["b1"])
        return dense(p["d2"], x) + x @ (p["a2"] @ p["b2"])

    return Architecture(
        apply,
        p,
        (normal(2, 5),),
        (
            free(9, "d1/w[1] d1/b[0] b1[1] d2/w[0] a2[0]", scales=1),
            free(2, "a1[1] b1[0]", scales=1, signs=1),
            free(3, "a2[1] b2[0]", scales=1, signs=1),
        ),
    )
