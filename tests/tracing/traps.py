"""Functions in which something looks like a symmetry and is none.

A trap forbids kinds of uses: "permute a[1]" (that axis, taken as one, may not be free),
"scale a[1]", "sign a[1]" (no such exponent but 0), "over a[1]" (no independent choice
for each index of another space). What it does not forbid may be accepted or not; the
certificate judges the rest.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu, softmax

from tests.tracing.architectures._parts import normal, weights

SHAPES = {"a": (4, 6), "b": (6,), "d": (6, 2)}
ORDER = "permute a[1]"
SCALE, SIGN = "scale a[1]", "sign a[1]"
READ = "scale d[0]", "sign d[0]"


class Trap(NamedTuple):
    """A function, what it is called with, and what must not be accepted of it."""

    apply: Callable
    params: Any
    inputs: tuple
    forbidden: tuple[str, ...]
    statistics: tuple[str, ...] | None = None


TRAPS: dict[str, Trap] = {}


def trap(*forbidden, shapes=SHAPES, inputs=None, statistics=None):
    """Register a function of parameters and inputs."""

    def register(apply):
        x = (normal(3, 4),) if inputs is None else inputs
        TRAPS[apply.__name__] = Trap(apply, weights(shapes), x, forbidden, statistics)
        return apply

    return register


def hidden(*forbidden, shapes=SHAPES):
    """Register what happens to six neurons between two dense layers."""

    def register(f):
        def apply(p, x):
            return f(x @ p["a"] + p["b"][None]) @ p["d"]

        TRAPS[f.__name__] = Trap(apply, weights(shapes), (normal(3, 4),), forbidden)
        return f

    return register


# --------------------------------------------------- functions of one neuron each


@hidden(SCALE, SIGN, *READ)
def softplus(h):
    return jax.nn.softplus(h)


@hidden(SCALE, SIGN, *READ)
def shifted_relu(h):
    return relu(h + 1)


@hidden(SCALE, SIGN, *READ)
def clipped(h):
    return jnp.clip(h, 0, 1)


@hidden(SCALE)
def clipped_on_both_sides(h):
    return jnp.clip(h, -0.5, 0.5)


@hidden(SCALE, SIGN, *READ)
def clipped_unevenly(h):
    return jnp.clip(h, -0.5, 1.0)


@hidden(SCALE, *READ)
def tanh_of_abs(h):
    return jnp.tanh(jnp.abs(h))


@hidden(SCALE)
def abs_of_tanh(h):
    return jnp.abs(jnp.tanh(h))


@hidden(SCALE, SIGN, *READ)
def relu_plus_tanh(h):
    return relu(h) + jnp.tanh(h)


@hidden(SIGN, "sign d[0]")
def relu_plus_linear(h):
    return relu(h) + 0.3 * h


@hidden(SCALE, SIGN, *READ)
def square_plus_linear(h):
    return h * h + h


@hidden(SCALE, *READ)
def one_plus_square(h):
    return 1 / (1 + h * h)


@hidden(SCALE)
def rounded(h):
    return jnp.round(4 * h)


@hidden(SCALE, SIGN, *READ)
def floored(h):
    return jnp.floor(4 * h)


@hidden(SCALE)
def remainder(h):
    return jax.lax.rem(4 * h, jnp.ones_like(h))


@hidden(SCALE)
def as_integers(h):
    return (4 * h).astype(jnp.int32).astype(h.dtype)


@hidden(*READ)
def step(h):
    return jnp.where(h > 0, 1.0, 0.0).astype(h.dtype)


@hidden(*READ)
def signs_only(h):
    return jnp.sign(h) + 1


@hidden(SCALE, SIGN, *READ)
def threshold(h):
    return jnp.where(h > 0.3, h, 0)


@hidden(SCALE)
def angle_to_one(h):
    return jnp.arctan2(h, jnp.ones_like(h))


@hidden(SCALE, *READ)
def power(h):
    return jnp.power(jnp.abs(h) + 0.1, 1.5)


@hidden(SCALE, SIGN)
def exponential(h):
    return jnp.exp(h)


@hidden(SCALE, SIGN, *READ)
def cosine_and_sine(h):
    return jnp.cos(h) + jnp.sin(h)


@hidden(SCALE)
def custom_rule(h):
    @jax.custom_jvp
    def f(x):
        return jnp.sinh(x)

    f.defjvp(lambda x, t: (f(*x), t[0]))
    return f(h)


# ---------------------------------------------------------- functions of all neurons


@hidden(SCALE, SIGN, *READ)
def softmax_over_neurons(h):
    return softmax(h, -1)


@hidden(SCALE, SIGN, *READ)
def centred(h):
    return relu(h - h.mean(-1, keepdims=True))


@hidden(SCALE, SIGN, *READ)
def plus_mean(h):
    return h + h.mean(-1, keepdims=True)


@hidden(SCALE, *READ)
def minus_largest(h):
    return h - h.max(-1, keepdims=True)


@hidden(SCALE, SIGN)
def above_mean(h):
    return jnp.maximum(h, h.mean(-1, keepdims=True))


@hidden(SCALE, "scale d[0]")
def over_length(h):
    return h / jnp.sqrt((h * h).sum(-1, keepdims=True))


@hidden(SCALE, SIGN)
def over_largest(h):
    return h / h.max()


@hidden(SCALE, SIGN)
def times_product(h):
    return h * h.prod(-1, keepdims=True)


@hidden(SCALE, SIGN)
def times_logsumexp(h):
    return h * jax.nn.logsumexp(h, -1, keepdims=True)


@hidden(SCALE)
def over_batch_statistics(h):
    return relu((h - h.mean(0)[None]) / jnp.sqrt(h.var(0) + 1e-2)[None])
