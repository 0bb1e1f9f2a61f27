"""From a latent vector to the parameters of a network.

Boufalis et al. 2025, arXiv 2511.12601: an MLP `z -> 2 d -> 4 d -> number of parameters`
with SiLU between its layers, whose output is cut into the tensors of the network.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Params, Path

HEADS = ("plain", "affine")
"""Known output heads of the decoder."""


class MLPDecoder(nn.Module):
    """Decode latents `[*N, D]` to parameters with leading axes `[*N]`.

    Attributes:
      shapes: path and shape of every tensor, from `symmetry.tensor_shapes`.
      hidden_sizes: widths of the hidden layers; `(2 * D, 4 * D)` as published.
      head: "plain" is the published linear output. "affine" multiplies the output by
        the population's standard deviation of each tensor and adds its mean, and starts
        from a bias that is itself a random network of the population, so that training
        begins at networks of the right size with neurons that differ from each other.
      moments: for "affine", mean and standard deviation of each of the `shapes`.
    """

    shapes: tuple[tuple[Path, tuple[int, ...]], ...]
    hidden_sizes: tuple[int, ...]
    head: str = "plain"
    moments: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        if self.head not in HEADS:
            raise ValueError(f"decoder head {self.head!r} is not one of {HEADS}.")
        if self.head == "affine" and len(self.moments) != len(self.shapes):
            raise ValueError(
                f"decoder head 'affine' needs mean and std of {len(self.shapes)}"
                f" tensors, got {len(self.moments)}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, latents: Array) -> Params:
        x = latents
        for size in self.hidden_sizes:
            x = nn.silu(_dense(size, x.shape[-1])(x))
        sizes = [math.prod(shape) for _, shape in self.shapes]
        if self.head == "plain":
            flat = _dense(sum(sizes), x.shape[-1])(x)
        else:
            moments = np.repeat(np.asarray(self.moments, np.float32), sizes, axis=0)
            mean, std = moments.T.reshape(2, *[1] * (x.ndim - 1), -1)
            kernel_init = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
            unit = nn.Dense(
                sum(sizes),
                kernel_init=kernel_init,
                bias_init=nn.initializers.normal(1.0),
            )(x)
            flat = std * unit + mean
        pieces = jnp.split(flat, np.cumsum(sizes)[:-1].tolist(), axis=-1)
        return symmetry.unflatten(
            {
                path: piece.reshape(*latents.shape[:-1], *shape)
                for (path, shape), piece in zip(self.shapes, pieces, strict=True)
            }
        )


def moments_of(
    statistics: Mapping[Path, tuple[float, float]],
    shapes: tuple[tuple[Path, tuple[int, ...]], ...],
) -> tuple[tuple[float, float], ...]:
    """Return mean and standard deviation per tensor in the order of `shapes`.

    A standard deviation of zero (a tensor that is the same in the whole population)
    becomes one, so that the decoder can still learn the tensor.

    Args:
      statistics: mean and standard deviation of each tensor, by path.
      shapes: path and shape of each tensor.

    Returns:
      One pair per tensor.
    """
    pairs = (statistics[path] for path, _ in shapes)
    return tuple((float(mean), float(std) or 1.0) for mean, std in pairs)


def _dense(size: int, num_read: int) -> nn.Dense:
    """Return a linear layer with weights and bias uniform in +-1 / sqrt(I)."""
    bound = num_read**-0.5

    def bias_init(key, shape, dtype=jnp.float32, **_: Any):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.Dense(size, kernel_init=kernel_init, bias_init=bias_init)
