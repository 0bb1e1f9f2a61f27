"""An encoder that asks a network what it computes instead of how.

The network is evaluated at learned points of its domain and a small MLP reads the
outputs (probe features: Kofinas et al. 2024, arXiv 2403.12143, section 3.2). Twins
compute the same function, so the result is invariant to *every* symmetry of the
parameters, known or not, and it costs no more than rendering a few pixels, or than
classifying a few images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from symmerge_jax.typing import Array


class ProbeEncoder(nn.Module):
    """Encode functions by their outputs at learned points.

    Attributes:
      num_probes: number of points `K`.
      input_shape: shape of one input of the probed networks, `(I,)` or `(H, W, C)` of
        an image. Points start uniform in [-1, 1], the range of their domain.
      latent_size: size of the latent.
      width: width of the hidden layer that reads the outputs.
    """

    num_probes: int
    input_shape: tuple[int, ...]
    latent_size: int
    width: int = 256

    def __post_init__(self):
        if min(self.num_probes, self.latent_size, self.width) < 1:
            raise ValueError(
                "num_probes, latent_size and width of a probe encoder must be >= 1, got"
                f" {self.num_probes}, {self.latent_size} and {self.width}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, evaluate: Callable[[Array], Array]) -> Array:
        """Return latents `[*N, latent_size]`.

        Args:
          evaluate: from points `[K, *input_shape]` to the outputs `[*N, K, O]` of
            the networks.
        """
        points = self.param("points", _uniform, (self.num_probes, *self.input_shape))
        outputs = evaluate(jnp.asarray(points))
        x = outputs.reshape(*outputs.shape[:-2], -1)
        x = nn.LayerNorm()(nn.Dense(self.width)(x))
        return nn.Dense(self.latent_size)(nn.silu(x))


def _uniform(key, shape):
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
