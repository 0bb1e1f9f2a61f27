"""What a decoded network is compared with: its function, not its weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Array, Params


def render(
    network: networks.Network, params_batch: Params, coordinates: Array
) -> Array:
    """Return the outputs `[N, S, O]` of a batch of networks on the same coordinates.

    Args:
      network: their architecture.
      params_batch: parameters with one leading axis `[N]`.
      coordinates: `[S, I]`, for images the grid of `networks.coordinate_grid`.

    Returns:
      Outputs, for INRs pixel values, nominally in [0, 1] and not clipped.
    """
    apply: Callable[..., Array] = jax.vmap(network.apply, in_axes=(0, None))
    return apply(params_batch, coordinates)


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
