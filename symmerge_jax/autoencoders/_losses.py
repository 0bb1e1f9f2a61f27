"""Losses of decoded networks: of their functions or, as an ablation, their weights."""

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params


def functional_loss(outputs: Array, targets: Array) -> Array:
    """Return the mean squared error `[N]` per network between two renderings.

    Boufalis et al. 2025, arXiv 2511.12601: the target is the original network's own
    rendering, not the image that it was fitted to.

    Args:
      outputs: `[N, S, O]`.
      targets: `[N, S, O]`.

    Returns:
      `[N]` mean squared errors.
    """
    return jnp.mean((outputs - targets) ** 2, axis=(1, 2))


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


def weight_loss(
    decoded: Params,
    params_batch: Params,
    spec: symmetry.SymmetrySpec,
    stds: Params,
) -> Array:
    """Return the mean squared error `[N]` between weights: an ablation.

    The target is the closed-form canonical form of the original network, as twins have
    to have the same target. Every tensor is measured in units of its population's
    standard deviation.

    Args:
      decoded: decoded parameters with a leading axis `[N]`.
      params_batch: original parameters with a leading axis `[N]`.
      spec: symmetry of the architecture.
      stds: standard deviation of every tensor, a scalar per leaf.

    Returns:
      `[N]` mean squared errors over all parameters.
    """
    targets = jax.vmap(lambda params: symmetry.canonical_form(params, spec))(
        params_batch
    )
    squares = jax.tree.map(
        lambda a, b, std: jnp.square((a - b) / std).reshape(a.shape[0], -1),
        dict(decoded),
        dict(targets),
        dict(stds),
    )
    return jnp.mean(jnp.concatenate(jax.tree.leaves(squares), axis=1), axis=1)


def psnr(squared_error: Array) -> Array:
    """Return the peak signal-to-noise ratio in dB of images in [0, 1]."""
    return -10 * jnp.log10(squared_error)
