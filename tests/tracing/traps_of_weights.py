"""More traps: ties between weights, statistics, outputs and control flow."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu, softmax

from tests.tracing.architectures._parts import normal
from tests.tracing.traps import ORDER, READ, SCALE, SIGN, trap

CONSTANT = np.linspace(0.5, 2.0, 6)
SQUARE = {"a": (4, 6), "k": (6, 6), "d": (6, 2)}


@trap(ORDER, shapes={"a": (4, 6)})
def the_output_is_the_layer(p, x):
    return relu(x @ p["a"])


@trap("permute d[1]")
def classes(p, x):
    return softmax(relu(x @ p["a"] + p["b"][None]) @ p["d"], -1)


@trap(ORDER, SCALE, shapes={"a": (4, 6)})
def argmax_is_the_output(p, x):
    return jnp.argmax(x @ p["a"], -1)


@trap(ORDER, shapes={"a": (4, 6)})
def argsort_is_the_output(p, x):
    return jnp.argsort(x @ p["a"], -1)


@trap(ORDER, shapes={"a": (4, 6)}, inputs=(normal(3, 4), normal(3, 6)))
def against_an_input(p, x, y):
    return (jnp.tanh(x @ p["a"]) * y).sum(-1)


@trap("permute d[1]", "permute d[0]", shapes={"a": (4, 6), "d": (6, 4)})
def onto_the_input(p, x):
    y = x + relu(x @ p["a"]) @ p["d"]
    return y[:, :1] * relu(x @ p["a"] * jnp.asarray(CONSTANT, x.dtype)[None])


@trap("permute a[0]")
def rows_of_the_input(p, x):
    return jnp.tanh(x @ p["a"] + p["b"][None]) @ p["d"]


@trap("scale a[1]", "sign a[1]", shapes={"a": (4, 6), "b": (6,)})
def tied_to_its_transpose(p, x):
    return relu(x @ p["a"] + p["b"][None]) @ p["a"].T


@trap("permute a[1]", "permute a[0]", shapes={"a": (4, 4), "d": (4, 2)})
def used_twice_from_the_input(p, x):
    return relu(relu(x @ p["a"]) @ p["a"]) @ p["d"]


@trap(ORDER, "permute k[0]", "permute k[1]", shapes=SQUARE)
def lower_triangle(p, x):
    return relu(jnp.tanh(x @ p["a"]) @ jnp.tril(p["k"])) @ p["d"]


@trap(SCALE, *READ, shapes=SQUARE)
def symmetric_kernel(p, x):
    h = relu(x @ p["a"])
    return relu(h + h @ (p["k"] + p["k"].T)) @ p["d"]


@trap(SCALE, "scale k[0]", shapes=SQUARE)
def kernel_of_exponentials(p, x):
    return relu(x @ p["a"]) @ jnp.exp(p["k"]) @ p["d"]


@trap(SCALE, shapes=SQUARE)
def kernel_of_softmax(p, x):
    return relu(x @ p["a"]) @ softmax(p["k"], 0) @ p["d"]


@trap(SCALE)
def standardised_weights(p, x):
    w = p["a"] - p["a"].mean(0)[None]
    w = w / jnp.sqrt((w * w).mean(0) + 1e-2)[None]
    return relu(x @ w + p["b"][None]) @ p["d"]


@trap(SCALE, SIGN)
def centred_weights(p, x):
    w = p["a"] - p["a"].mean(1)[:, None]
    return relu(x @ w + p["b"][None]) @ p["d"]


@trap(SCALE, *READ)
def weights_over_their_length(p, x):
    w = p["d"] / jnp.sqrt((p["d"] ** 2).sum())
    return relu(x @ p["a"] + p["b"][None]) @ w


@trap(SCALE, *READ)
def penalty_is_an_output(p, x):
    y = relu(x @ p["a"] + p["b"][None]) @ p["d"]
    return y, (p["a"] ** 2).sum() + (p["d"] ** 2).sum()


@trap(ORDER)
def penalty_by_index(p, x):
    y = relu(x @ p["a"] + p["b"][None]) @ p["d"]
    return y, (p["b"] * jnp.arange(6.0, dtype=x.dtype)).sum()


@trap(SCALE, SIGN)
def bias_after_the_norm(p, x):
    h = x @ p["a"]
    h = h / jnp.sqrt((h * h).mean(-1, keepdims=True) + 1e-3)
    return relu(h + p["b"][None]) @ p["d"]


@trap(SIGN, SCALE, *READ)
def stream_under_a_layer_norm(p, x):
    h = x @ p["a"] + p["b"][None]
    y = h - h.mean(-1, keepdims=True)
    return (h + jnp.tanh(y)) @ p["d"]


@trap(SCALE, *READ, shapes={"a": (4, 6), "k": (4, 6), "d": (6, 2)})
def two_activations_on_a_stream(p, x):
    return (jnp.tanh(x @ p["a"]) + relu(x @ p["k"])) @ p["d"]


@trap(SIGN, shapes={"a": (4, 6), "k": (4, 6), "d": (6, 2)})
def larger_of_two(p, x):
    u, v = x @ p["a"], x @ p["k"]
    return jnp.where(u > v, u, v) @ p["d"]


@trap(
    "scale a[1]",
    "sign a[1]",
    shapes={"a": (4, 6), "mean": (6,), "var": (6,), "scale": (6,), "d": (6, 2)},
    statistics=("mean", "var"),
)
def statistics_of_data(p, x):
    h = (x @ p["a"] - p["mean"][None]) * jax.lax.rsqrt(p["var"] + 1e-5)[None]
    return relu(h * p["scale"][None]) @ p["d"]


# ------------------------------------------------------------------- control flow


@trap(SCALE, SIGN)
def scan_with_resets(p, x):
    def body(h, u):
        h = jnp.where(u[:, :1] > 0, h, 1.0) * 0.5 + u @ p["a"]
        return h, h @ p["d"]

    zero = jnp.zeros((3, 6), x.dtype)
    return jax.lax.scan(body, zero, jnp.stack([x, -x, 2 * x]))[1]


@trap(ORDER)
def scan_that_rolls(p, x):
    def body(h, u):
        return jnp.roll(h, 1, 1) + u @ p["a"], None

    zero = jnp.zeros((3, 6), x.dtype)
    return jax.lax.scan(body, zero, jnp.stack([x, -x]))[0] @ p["d"]


@trap(ORDER)
def scan_over_neurons(p, x):
    def body(total, h):
        return 0.5 * total + h, None

    h = jnp.tanh(x @ p["a"])
    return jax.lax.scan(body, jnp.zeros((3,), x.dtype), h.T)[0]


@trap("scale a[1]", "sign a[1]")
def scan_from_ones(p, x):
    def body(h, u):
        return 0.5 * h + u @ p["a"], None

    return jax.lax.scan(body, jnp.ones((3, 6), x.dtype), x[None])[0] @ p["d"]


@trap("permute w[0]", shapes={"a": (4, 6), "w": (3, 6, 6), "d": (6, 2)})
def layers_in_order(p, x):
    def body(h, w):
        return jnp.tanh(h @ w), None

    return jax.lax.scan(body, jnp.tanh(x @ p["a"]), p["w"])[0] @ p["d"]


@trap("over w[1]", "over w[2]", shapes={"a": (4, 6), "w": (3, 6, 6), "d": (6, 2)})
def carry_is_one_for_all_layers(p, x):
    def body(h, w):
        return h + jnp.tanh(h @ w), None

    return jax.lax.scan(body, jnp.tanh(x @ p["a"]), p["w"])[0] @ p["d"]


@trap(SCALE, *READ)
def doubled_until_large(p, x):
    h = jnp.abs(x @ p["a"]) + 0.1
    h = jax.lax.while_loop(lambda h: h.sum() < 50, lambda h: 2 * h, h)
    return h @ p["d"]


@trap(ORDER)
def rotated_by_a_loop(p, x):
    turn = lambda i, h: jnp.roll(h, 1, 1) + h  # noqa: E731
    return jax.lax.fori_loop(0, 2, turn, x @ p["a"]) @ p["d"]


@trap(SCALE)
def branch_by_sum(p, x):
    h = relu(x @ p["a"])
    return jax.lax.cond(h.sum() > 1, jnp.tanh, lambda h: -2 * h, h) @ p["d"]


@trap(ORDER)
def branch_by_first(p, x):
    h = relu(x @ p["a"] + p["b"][None])
    return jax.lax.cond(h[0, 0] > 0.1, jnp.tanh, lambda h: -2 * h, h) @ p["d"]


@trap(ORDER, inputs=(normal(3, 4), np.asarray(2)))
def window_at_an_input(p, x, i):
    h = x @ p["a"]
    return jnp.tanh(h) @ p["d"] + jax.lax.dynamic_slice(h, (0, i), (3, 2))


@trap(ORDER, inputs=(normal(3, 4), np.asarray([3, 0])))
def columns_at_an_input(p, x, i):
    h = x @ p["a"]
    return jnp.tanh(h) @ p["d"] + h[:, i]


@trap("permute a[0]", shapes={"a": (6, 6), "d": (6, 2)})
def factor_of_cholesky(p, x):
    gram = p["a"] @ p["a"].T + jnp.eye(6, dtype=x.dtype)
    return x @ jnp.linalg.cholesky(gram)[:4] @ p["d"]


@trap("permute emb[0]", shapes={"emb": (7, 6), "d": (6, 2)}, inputs=(np.arange(3),))
def words(p, ids):
    return jnp.tanh(p["emb"][ids]) @ p["d"]


@trap("permute pos[0]", shapes={"a": (4, 6), "pos": (3, 6), "d": (6, 2)})
def places(p, x):
    return jnp.tanh(x @ p["a"] + p["pos"]) @ p["d"]
