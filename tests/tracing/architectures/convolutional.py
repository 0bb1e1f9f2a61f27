"""Classification networks whose blocks are plain convolutions."""

import jax
import jax.numpy as jnp
from jax.nn import relu

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
    layer_norm,
    pool,
    running,
    weights,
)


def alexnet():
    p = weights(
        {
            "c1": Conv(3, 3, 5),
            "c2": Conv(3, 5, 6),
            "d1": Dense(24, 9),
            "d2": Dense(9, 7),
            "d3": Dense(7, 4),
        }
    )

    def apply(p, x):
        x = pool(relu(conv(p["c1"], x)))
        x = pool(relu(conv(p["c2"], x)))
        x = x.reshape(x.shape[0], -1)
        x = relu(dense(p["d2"], relu(dense(p["d1"], x))))
        return dense(p["d3"], x)

    # The flattened axis is (height, width, channels): its last atom is the channels.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] c1/b[0] c2/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] d1/w[0].2", scales=1),
            free(9, "d1/w[1] d1/b[0] d2/w[0]", scales=1),
            free(7, "d2/w[1] d2/b[0] d3/w[0]", scales=1),
        ),
    )


def vgg():
    p = weights(
        {
            "c1": Conv(3, 3, 5),
            "c2": Conv(3, 5, 6),
            "c3": Conv(3, 6, 7),
            "d1": Dense(7, 9),
            "d2": Dense(9, 4),
        }
    )

    def apply(p, x):
        x = pool(relu(conv(p["c2"], relu(conv(p["c1"], x)))))
        x = pool(relu(conv(p["c3"], x))).mean((1, 2))
        return dense(p["d2"], relu(dense(p["d1"], x)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] c1/b[0] c2/w[2]", scales=1),
            free(6, "c2/w[3] c2/b[0] c3/w[2]", scales=1),
            free(7, "c3/w[3] c3/b[0] d1/w[0]", scales=1),
            free(9, "d1/w[1] d1/b[0] d2/w[0]", scales=1),
        ),
    )


def vgg_bn():
    p = weights(
        {
            "c1": Kernel(3, 3, 5),
            "n1": Batch(5),
            "c2": Kernel(3, 5, 6),
            "n2": Batch(6),
            "d": Dense(6, 4),
        }
    )

    def apply(p, x):
        x = pool(relu(batch_norm(p["n1"], conv(p["c1"], x))))
        x = relu(batch_norm(p["n2"], conv(p["c2"], x)))
        return dense(p["d"], x.mean((1, 2)))

    # Statistics keep exponent 0, and with them the kernel before: one group of scales
    # remains, written by scale and bias of the norm and read by the next kernel.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c1/w[3] n1/*[0] c2/w[2]", scales=1),
            free(6, "c2/w[3] n2/*[0] d/w[0]", scales=1),
        ),
        running(p),
    )


def _residual(norm, shapes, widths=(5, 6), groups=1, inner=(8, 9)):
    """A stem, an identity block and a block with a projection."""
    a, b = widths
    h, k = inner
    p = {
        "stem": Kernel(3, 3, a),
        "n0": shapes(a),
        "a1": Kernel(3, a, h),
        "na1": shapes(h),
        "a2": Kernel(3, h, a, groups),
        "na2": shapes(a),
        "b1": Kernel(3, a, k),
        "nb1": shapes(k),
        "b2": Kernel(3, k, b),
        "nb2": shapes(b),
        "s": Kernel(1, a, b),
        "ns": shapes(b),
        "d": Dense(b, 4),
    }

    def apply(p, x):
        x = relu(norm(p["n0"], conv(p["stem"], x)))
        y = relu(norm(p["na1"], conv(p["a1"], x)))
        x = relu(x + norm(p["na2"], conv(p["a2"], y)))
        y = relu(norm(p["nb1"], conv(p["b1"], x, 2)))
        y = norm(p["nb2"], conv(p["b2"], y))
        x = relu(norm(p["ns"], conv(p["s"], x, 2)) + y)
        return dense(p["d"], x.mean((1, 2)))

    return apply, weights(p)


def _residual_free(atom="", sizes=(5, 8, 9, 6), over=(), signs=(0, 0, 0, 0)):
    """The four spaces of `_residual`; the suffix names one atom of every axis."""
    a, h, k, b = sizes
    uses = (
        "stem/w[3]{} n0/*[0]{} a1/w[2]{} a2/w[3]{} na2/*[0]{} b1/w[2]{} s/w[2]{}",
        "a1/w[3]{} na1/*[0]{} a2/w[2]{}",
        "b1/w[3]{} nb1/*[0]{} b2/w[2]{}",
        "b2/w[3]{} nb2/*[0]{} s/w[3]{} ns/*[0]{} d/w[0]{}",
    )
    return tuple(
        free(n, u.replace("{}", atom), scales=1, signs=s, over=over)
        for n, u, s in zip((a, h, k, b), uses, signs, strict=True)
    )


def resnet():
    apply, p = _residual(batch_norm, Batch)
    return Architecture(apply, p, (image(),), _residual_free(), running(p))


def resnet_layer_norm():
    apply, p = _residual(layer_norm, Norm)
    return Architecture(apply, p, (image(),), _residual_free())


def resnet_group_norm():
    # Every channel axis is (2 groups, within); both may be permuted and scaled after
    # the norm, the latter anew for each group. A kernel that is flipped for a whole
    # group flips what its norm puts out, and the norm's scale can undo that.
    apply, p = _residual(group_norm, Norm, widths=(6, 10), inner=(8, 14))
    groups = _residual_free(".0", sizes=(2,) * 4, signs=(2, 1, 1, 2))
    within = _residual_free(".1", sizes=(3, 4, 7, 5), over=(2,))
    return Architecture(apply, p, (image(),), groups + within)


def wide_resnet():
    apply, p = _residual(batch_norm, Batch, widths=(5, 7), inner=(15, 21))
    sizes = (5, 15, 21, 7)
    return Architecture(apply, p, (image(),), _residual_free(sizes=sizes), running(p))


def resnext():
    p = weights(
        {
            "c1": Kernel(1, 3, 15),
            "n1": Batch(15),
            "c2": Kernel(3, 15, 6, groups=3),
            "n2": Batch(6),
            "d": Dense(6, 4),
        }
    )

    def apply(p, x):
        x = relu(batch_norm(p["n1"], conv(p["c1"], x)))
        x = relu(batch_norm(p["n2"], conv(p["c2"], x, groups=3)))
        return dense(p["d"], x.mean((1, 2)))

    # Three groups of five channels in and two out. The groups are one space on both
    # sides: inputs may be scaled per group apart from outputs.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(3, "c1/w[3].0 n1/*[0].0 c2/w[3].0 n2/*[0].0 d/w[0].0", scales=2),
            free(5, "c1/w[3].1 n1/*[0].1 c2/w[2]", scales=1, over=(3,)),
            free(2, "c2/w[3].1 n2/*[0].1 d/w[0].1", scales=1, over=(3,)),
        ),
        running(p),
    )


def densenet():
    p = weights(
        {
            "c0": Conv(3, 3, 5),
            "n1": Batch(5),
            "c1": Kernel(3, 5, 6),
            "n2": Batch(11),
            "c2": Kernel(3, 11, 7),
            "n3": Batch(18),
            "d": Dense(18, 4),
        }
    )

    def apply(p, x):
        y = conv(p["c1"], relu(batch_norm(p["n1"], x := conv(p["c0"], x))))
        x = jnp.concatenate([x, y], -1)
        y = conv(p["c2"], relu(batch_norm(p["n2"], x)))
        x = relu(batch_norm(p["n3"], jnp.concatenate([x, y], -1)))
        return dense(p["d"], x.mean((1, 2)))

    # Norms come before convolutions here: each has one group of scales of its own,
    # of its scale and bias against the kernel that reads it.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(
                5,
                "c0/w[3] c0/b[0] n1/*[0] c1/w[2] n2/*[0].0 c2/w[2].0 n3/*[0].0"
                " d/w[0].0",
                scales=3,
            ),
            free(6, "c1/w[3] n2/*[0].1 c2/w[2].1 n3/*[0].1 d/w[0].1", scales=2),
            free(7, "c2/w[3] n3/*[0].2 d/w[0].2", scales=1),
        ),
        running(p),
    )


def inception():
    p = weights(
        {
            "a": Conv(1, 3, 4),
            "b1": Conv(1, 3, 5),
            "b2": {"w": (1, 7, 5, 6), "b": (6,)},
            "b3": {"w": (7, 1, 6, 7), "b": (7,)},
            "c": Conv(1, 3, 8),
            "d": Dense(19, 3),
        }
    )

    def apply(p, x):
        b = relu(conv(p["b3"], relu(conv(p["b2"], relu(conv(p["b1"], x))))))
        c = relu(conv(p["c"], pool(x, "mean", 3, 1, "SAME")))
        x = jnp.concatenate([relu(conv(p["a"], x)), b, c], -1)
        return dense(p["d"], x.mean((1, 2)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(4, "a/w[3] a/b[0] d/w[0].0", scales=1),
            free(5, "b1/w[3] b1/b[0] b2/w[2]", scales=1),
            free(6, "b2/w[3] b2/b[0] b3/w[2]", scales=1),
            free(7, "b3/w[3] b3/b[0] d/w[0].1", scales=1),
            free(8, "c/w[3] c/b[0] d/w[0].2", scales=1),
        ),
    )


def googlenet():
    """Branches, a pooled projection, and an auxiliary head: two outputs."""
    p = weights(
        {
            "c0": Conv(3, 3, 5),
            "a": Conv(1, 5, 6),
            "b": Conv(1, 5, 7),
            "aux": Dense(5, 2),
            "d": Dense(13, 4),
        }
    )

    def apply(p, x):
        x = relu(conv(p["c0"], x))
        aux = dense(p["aux"], x.mean((1, 2)))
        b = conv(p["b"], pool(x, "max", 3, 1, "SAME"))
        x = relu(jnp.concatenate([conv(p["a"], x), b], -1))
        return dense(p["d"], jax.lax.stop_gradient(x).mean((1, 2))), aux

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c0/w[3] c0/b[0] a/w[2] b/w[2] aux/w[0]", scales=1),
            free(6, "a/w[3] a/b[0] d/w[0].0", scales=1),
            free(7, "b/w[3] b/b[0] d/w[0].1", scales=1),
        ),
    )
