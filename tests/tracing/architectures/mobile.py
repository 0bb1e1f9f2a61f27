"""Classification networks built from depthwise convolutions, gates and shuffles."""

import jax.numpy as jnp
from jax.nn import gelu, hard_swish, relu, relu6, sigmoid, silu

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
    depthwise,
    free,
    image,
    layer_norm,
    pool,
    running,
    weights,
)


def _inverted(activation, excite=False):
    """A stem, an inverted residual block and one that projects to other channels."""
    shapes = {
        "c0": Kernel(3, 3, 5),
        "n0": Batch(5),
        "e": Kernel(1, 5, 9),
        "n1": Batch(9),
        "w": Kernel(3, 9, 9, groups=9),
        "n2": Batch(9),
        "s1": Dense(9, 4),
        "s2": Dense(4, 9),
        "p": Kernel(1, 9, 5),
        "n3": Batch(5),
        "q": Kernel(1, 5, 7),
        "n4": Batch(7),
        "d": Dense(7, 3),
    }
    if not excite:
        del shapes["s1"], shapes["s2"]

    def apply(p, x):
        x = batch_norm(p["n0"], conv(p["c0"], x))
        y = activation(batch_norm(p["n1"], conv(p["e"], x)))
        y = activation(batch_norm(p["n2"], depthwise(p["w"], y)))
        if excite:
            s = dense(p["s2"], relu(dense(p["s1"], y.mean((1, 2)))))
            y = y * sigmoid(s)[:, None, None]
        x = x + batch_norm(p["n3"], conv(p["p"], y))
        x = activation(batch_norm(p["n4"], conv(p["q"], x)))
        return dense(p["d"], x.mean((1, 2)))

    return apply, weights(shapes)


# The residual stream is linear: scales and signs, of which the norms' scale and bias
# carry the written side. Between ReLUs the hidden channels have two groups: scale and
# bias of the first norm against the depthwise kernel are muted by the second norm's
# statistics only on the output side, where the kernel takes the opposite scale.
def _inverted_free(kept, excite=False):
    stream = free(5, "c0/w[3] n0/*[0] e/w[2] p/w[3] n3/*[0] q/w[2]", scales=1, signs=1)
    uses = "e/w[3] n1/*[0] w/w[3] n2/*[0] p/w[2]"
    hidden = free(9, uses + " s1/w[0] s2/w[1] s2/b[0]" * excite, scales=2 * kept)
    last = free(7, "q/w[3] n4/*[0] d/w[0]", scales=kept)
    inner = (free(4, "s1/w[1] s1/b[0] s2/w[0]", scales=1),) if excite else ()
    return (stream, hidden, last, *inner)


def mnasnet():
    apply, p = _inverted(relu)
    return Architecture(apply, p, (image(),), _inverted_free(1), running(p))


def mobilenet_v2():
    # Clipping at 6 leaves permutations alone.
    apply, p = _inverted(relu6)
    return Architecture(apply, p, (image(),), _inverted_free(0), running(p))


def mobilenet_v3():
    apply, p = _inverted(hard_swish, excite=True)
    return Architecture(apply, p, (image(),), _inverted_free(0, True), running(p))


def efficientnet():
    apply, p = _inverted(silu, excite=True)
    return Architecture(apply, p, (image(),), _inverted_free(0, True), running(p))


def mnasnet_excited():
    apply, p = _inverted(relu, excite=True)
    return Architecture(apply, p, (image(),), _inverted_free(1, True), running(p))


def regnet():
    """Grouped convolution and a gate in a bottleneck with a projection."""
    p = weights(
        {
            "c0": Conv(3, 3, 5),
            "a": Conv(1, 5, 6),
            "g": Conv(3, 6, 6, groups=2),
            "s1": Dense(6, 4),
            "s2": Dense(4, 6),
            "b": Conv(1, 6, 7),
            "s": Conv(1, 5, 7),
            "d": Dense(7, 4),
        }
    )

    def apply(p, x):
        x = relu(conv(p["c0"], x))
        y = relu(conv(p["g"], relu(conv(p["a"], x)), groups=2))
        s = dense(p["s2"], relu(dense(p["s1"], y.mean((1, 2)))))
        y = conv(p["b"], y * sigmoid(s)[:, None, None])
        x = relu(y + conv(p["s"], x))
        return dense(p["d"], x.mean((1, 2)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c0/w[3] c0/b[0] a/w[2] s/w[2]", scales=1),
            free(
                2,
                "a/w[3].0 a/b[0].0 g/w[3].0 g/b[0].0 s1/w[0].0 s2/w[1].0 s2/b[0].0"
                " b/w[2].0",
                scales=2,
            ),
            free(3, "a/w[3].1 a/b[0].1 g/w[2]", scales=1, over=(2,)),
            free(
                3,
                "g/w[3].1 g/b[0].1 s1/w[0].1 s2/w[1].1 s2/b[0].1 b/w[2].1",
                scales=1,
                over=(2,),
            ),
            free(4, "s1/w[1] s1/b[0] s2/w[0]", scales=1),
            free(7, "b/w[3] b/b[0] s/w[3] s/b[0] d/w[0]", scales=1),
        ),
    )


def convnext():
    p = weights(
        {
            "c0": {"w": (2, 2, 3, 5), "b": (5,)},
            "w": Conv(3, 5, 5, groups=5),
            "n": Norm(5),
            "d1": Dense(5, 9),
            "d2": Dense(9, 5),
            "gamma": (5,),
            "n2": Norm(5),
            "d": Dense(5, 4),
        }
    )

    def apply(p, x):
        x = conv(p["c0"], x, 2, padding="VALID")
        y = layer_norm(p["n"], depthwise(p["w"], x))
        y = dense(p["d2"], gelu(dense(p["d1"], y)))
        x = x + y * p["gamma"][None, None, None]
        return dense(p["d"], layer_norm(p["n2"], x.mean((1, 2))))

    # The stream is read by two norms, which pin its own scale and sign, but not those
    # of what follows each norm, nor that of the layer scale against the last kernel.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(
                5,
                "c0/w[3] c0/b[0] w/w[3] w/b[0] n/*[0] d1/w[0] d2/w[1] d2/b[0] gamma[0]"
                " n2/*[0] d/w[0]",
                scales=3,
                signs=3,
            ),
            free(9, "d1/w[1] d1/b[0] d2/w[0]"),
        ),
    )


def shufflenet():
    """Split channels, convolve one half, concatenate, and shuffle."""
    p = weights(
        {
            "c0": Conv(3, 3, 8),
            "a": Conv(1, 4, 4),
            "w": Conv(3, 4, 4, groups=4),
            "b": Conv(1, 4, 4),
            "a2": Conv(1, 4, 4),
            "d": Dense(8, 3),
        }
    )

    def apply(p, x):
        x = relu(conv(p["c0"], x))
        u, v = jnp.split(x, 2, -1)
        v = relu(conv(p["b"], depthwise(p["w"], relu(conv(p["a"], v)))))
        x = jnp.concatenate([u, v], -1)
        x = x.reshape(*x.shape[:3], 2, 4).swapaxes(3, 4).reshape(x.shape)
        u, v = jnp.split(x, 2, -1)
        v = relu(conv(p["a2"], v))
        return dense(p["d"], jnp.concatenate([u, v], -1).mean((1, 2)))

    # After the shuffle the halves are (u0 v0 u1 v1) and (u2 v2 u3 v3): `u` and `v`
    # split in two spaces of two channels each. The order (2 channels, 2
    # branches) is kept, so each of the four is a class of single indices where read.
    # `d/w[0]` reads its first half so, and `a2/w[2]` the second.
    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(4, "c0/w[3].2 c0/b[0].2 a/w[2]", scales=1),
            free(4, "a/w[3] a/b[0] w/w[3] w/b[0] b/w[2]", scales=2, signs=1),
            free(2, "c0/w[3].0 c0/b[0].0 d/w[0].0", scales=1),
            free(2, "c0/w[3].1 c0/b[0].1 a2/w[2].0", scales=1),
            free(2, "b/w[3].0 b/b[0].0 d/w[0].1", scales=1),
            free(2, "b/w[3].1 b/b[0].1 a2/w[2].1", scales=1),
            free(4, "a2/w[3] a2/b[0] d/w[0].2", scales=1),
        ),
    )


def shufflenet_v1():
    """Grouped convolutions with a shuffle between: groups become places."""
    p = weights(
        {
            "a": Conv(1, 3, 6),
            "b": Conv(1, 6, 8, groups=2),
            "d": Dense(8, 4),
        }
    )

    def apply(p, x):
        x = relu(conv(p["a"], x))
        x = x.reshape(*x.shape[:3], 3, 2).swapaxes(3, 4).reshape(x.shape)
        x = relu(conv(p["b"], x, groups=2))
        return dense(p["d"], x.mean((1, 2)))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(3, "a/w[3].0 a/b[0].0 b/w[2]", scales=1, over=(2,)),
            free(2, "a/w[3].1 a/b[0].1 b/w[3].0 b/b[0].0 d/w[0].0", scales=2),
            free(4, "b/w[3].1 b/b[0].1 d/w[0].1", scales=1, over=(2,)),
        ),
    )


def squeezenet():
    p = weights(
        {
            "c0": Conv(3, 3, 5),
            "s": Conv(1, 5, 4),
            "e1": Conv(1, 4, 6),
            "e3": Conv(3, 4, 7),
            "c": Conv(1, 13, 3),
        }
    )

    def apply(p, x):
        x = relu(conv(p["s"], pool(relu(conv(p["c0"], x)))))
        x = relu(jnp.concatenate([conv(p["e1"], x), conv(p["e3"], x)], -1))
        return relu(conv(p["c"], x)).mean((1, 2))

    return Architecture(
        apply,
        p,
        (image(),),
        (
            free(5, "c0/w[3] c0/b[0] s/w[2]", scales=1),
            free(4, "s/w[3] s/b[0] e1/w[2] e3/w[2]", scales=1),
            free(6, "e1/w[3] e1/b[0] c/w[2].0", scales=1),
            free(7, "e3/w[3] e3/b[0] c/w[2].1", scales=1),
        ),
    )
