"""What a decoded classifier is compared with: the logits of the original one."""

import jax
import jax.numpy as jnp
from jax import lax

from symmerge_jax import networks
from symmerge_jax.typing import Array, Params


def distillation_loss(
    student: Array, teacher: Array, *, temperature: float = 0.6
) -> Array:
    """Return the divergence of a student's classes from a teacher's.

    `T^2 KL(softmax(g / T) || softmax(s / T))` in nats, the mean over samples, with
    logits `g` of the teacher and `s` of the student (Hinton et al. 2015, arXiv
    1503.02531; Boufalis et al. 2025, arXiv 2511.12601, who take T = 0.6).

    Args:
      student: logits `[..., S, C]`.
      teacher: logits `[..., S, C]`.
      temperature: `T > 0`.

    Returns:
      `[...]`, never negative up to rounding.
    """
    expected = jax.nn.log_softmax(teacher / temperature)
    found = jax.nn.log_softmax(student / temperature)
    divergence = jnp.sum(jnp.exp(expected) * (expected - found), axis=-1)
    return temperature**2 * jnp.mean(divergence, axis=-1)


def population_logits(
    network: networks.Network,
    params_batch: Params,
    inputs: Array,
    *,
    num_networks: int | None = None,
    chunk_size: int = 500,
) -> Array:
    """Return the logits of many classifiers on the same inputs.

    Inputs are taken in chunks whose values are computed again in the backward pass, so
    that memory does not grow with their number.

    Args:
      network: architecture of the classifiers.
      params_batch: `[N, ...]`.
      inputs: `[S, *input_shape]`.
      num_networks: networks side by side; None for one after the other on a CPU, where
        each then stays in the cache, and for all of them elsewhere.
      chunk_size: inputs at a time.

    Returns:
      `[N, S, C]`.
    """
    total = len(jax.tree.leaves(params_batch)[0])
    if num_networks is None:
        num_networks = 1 if jax.default_backend() == "cpu" else total
    size = min(chunk_size, len(inputs))
    whole = len(inputs) // size * size
    chunks = inputs[:whole].reshape(-1, size, *inputs.shape[1:])
    apply = jax.checkpoint(network.apply)

    def one(params):
        logits = lax.map(lambda chunk: apply(params, chunk), chunks)
        logits = logits.reshape(whole, -1)
        if whole == len(inputs):
            return logits
        return jnp.concatenate([logits, apply(params, inputs[whole:])])

    if num_networks == 1:
        return lax.map(one, params_batch)
    return lax.map(one, params_batch, batch_size=min(num_networks, total))
