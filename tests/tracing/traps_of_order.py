"""More traps: neurons that are told apart by their places."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu

from tests.tracing.traps import ORDER, READ, SCALE, SHAPES, SIGN, hidden

CONSTANT = np.linspace(0.5, 2.0, 6)


def _wide(constant, x):
    return jnp.asarray(constant, x.dtype)[None]


@hidden(ORDER, SCALE, SIGN)
def plus_constant(h):
    return relu(h + _wide(CONSTANT, h))


@hidden(ORDER)
def times_constant(h):
    return h * _wide(CONSTANT, h)


@hidden(ORDER)
def times_arange(h):
    return h * jnp.arange(6.0, dtype=h.dtype)[None]


@hidden(ORDER)
def dropped(h):
    return h * _wide([1, 0, 1, 1, 0, 1], h)


@hidden(ORDER, SCALE)
def plus_random(h):
    return h + jax.random.normal(jax.random.key(3), h.shape, h.dtype)


@hidden(ORDER)
def masked_by_index(h):
    return jnp.where((jnp.arange(6) < 3)[None], h, 0)


@hidden(ORDER)
def replaced_by_index(h):
    return jnp.where((jnp.arange(6) == 4)[None], 2 * h, h)


@hidden(ORDER)
def cumulative(h):
    return jnp.cumsum(h, -1)


@hidden(ORDER, SIGN)
def cumulative_largest(h):
    return jax.lax.cummax(h, 1)


@hidden(ORDER)
def associative(h):
    return jax.lax.associative_scan(jnp.add, h, axis=1)


@hidden("permute d[0]", SCALE, SIGN)
def ordered(h):
    return jnp.sort(h, -1)


@hidden(ORDER)
def ranked(h):
    return h * jnp.argsort(jax.lax.stop_gradient(h), -1)


@hidden("permute d[0]", SCALE, shapes=SHAPES | {"d": (3, 2)})
def largest_values(h):
    return jax.lax.top_k(h, 3)[0]


@hidden(SCALE, *READ)
def largest_as_one_hot(h):
    return jax.nn.one_hot(h.argmax(-1), 6, dtype=h.dtype)


@hidden(ORDER)
def transformed(h):
    return jnp.abs(jnp.fft.fft(h, axis=-1))


@hidden(ORDER)
def reversed_sum(h):
    return h + h[:, ::-1]


@hidden(ORDER)
def rolled_sum(h):
    return relu(h) + jnp.roll(h, 1, 1)


@hidden(ORDER)
def reordered_sum(h):
    return h + h[:, np.asarray([2, 0, 1, 3, 5, 4])]


@hidden(ORDER)
def taken_by_constant(h):
    return h + jnp.take(h, np.asarray([1, 1, 2, 3, 4, 5]), axis=1)


@hidden(ORDER)
def shuffled_sum(h):
    return h + h.reshape(3, 2, 3).swapaxes(1, 2).reshape(3, 6)


@hidden(ORDER)
def one_neuron_more(h):
    return h + h[:, :1]


@hidden(ORDER)
def last_neuron_gates(h):
    return jnp.tanh(h[:, -1])[:, None] * h


@hidden(ORDER)
def one_neuron_set(h):
    return h.at[:, 2].set(0.0)


@hidden(ORDER)
def one_neuron_added(h):
    return h.at[:, 2].add(h[:, 3])


@hidden(ORDER)
def every_second(h):
    return h.at[:, ::2].multiply(2.0)


@hidden(ORDER)
def pooled(h):
    return jax.lax.reduce_window(
        h, -jnp.inf, jax.lax.max, (1, 2), (1, 1), ((0, 0), (0, 1))
    )


@hidden(ORDER)
def convolved(h):
    kernel = jnp.asarray([[[0.2], [0.5], [0.3]]], h.dtype).transpose(1, 2, 0)
    numbers = ("NHC", "HIO", "NHC")
    y = jax.lax.conv_general_dilated(
        h[..., None], kernel, (1,), "SAME", dimension_numbers=numbers
    )
    return y[..., 0]


@hidden(ORDER)
def padded_and_cut(h):
    return jnp.pad(h, ((0, 0), (1, 0)))[:, :6] + h


@hidden(ORDER, shapes=SHAPES | {"d": (12, 2)})
def tiled_and_repeated(h):
    return jnp.tile(h, (1, 2)) + jnp.repeat(h, 2, 1)


@hidden(ORDER, shapes=SHAPES | {"d": (36, 2)})
def triangle_of_products(h):
    y = relu(h[:, :, None] * h[:, None, :])
    mask = np.triu(np.ones((6, 6)), 1)
    return (y * jnp.asarray(mask, h.dtype)[None]).reshape(3, 36)


@hidden(ORDER, shapes=SHAPES | {"d": (2, 2)})
def sums_of_groups(h):
    return relu(h.reshape(3, 2, 3).sum(-1))


@hidden(ORDER)
def normalised_in_groups(h):
    y = h.reshape(3, 2, 3)
    y = y / jnp.sqrt((y * y).mean(-1, keepdims=True) + 1e-3)
    return y.reshape(3, 6)


@hidden(ORDER, shapes=SHAPES | {"d": (3, 2)})
def largest_of_pairs(h):
    return h.reshape(3, 3, 2).max(-1)


@hidden(ORDER, SCALE)
def rotated_in_pairs(h):
    a, b = jnp.split(h, 2, -1)
    return relu(jnp.concatenate([0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b], -1))
