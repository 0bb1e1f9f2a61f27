"""An encoder and a head: from parameters to latent to prediction.

The tasks of ScaleGMN itself (Kalogeropoulos et al. 2024, arXiv 2406.10685): the class
of the image that an INR draws, the accuracy of a CNN.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from symmerge_jax import networks
from symmerge_jax.metanets import _encoder
from symmerge_jax.typing import Array, Key, Params


class MLPHead(nn.Module):
    """Map latents to outputs: layer norm and SiLU, dense layers between, a dense last.

    Attributes:
      num_outputs: number of outputs `C`.
      hidden_sizes: widths of the layers between.
      dropout: probability to drop an input of a dense layer, in [0, 1).
    """

    num_outputs: int
    hidden_sizes: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self):
        if (
            min(self.num_outputs, *self.hidden_sizes, 1) < 1
            or not 0 <= self.dropout < 1
        ):
            raise ValueError(
                "A head needs sizes >= 1 and dropout in [0, 1), got"
                f" num_outputs={self.num_outputs}, hidden_sizes={self.hidden_sizes} and"
                f" dropout={self.dropout}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, latents: Array, *, deterministic: bool = True) -> Array:
        """Return outputs `[*N, C]` of latents `[*N, D]`."""
        x = latents
        for size in (*self.hidden_sizes, self.num_outputs):
            x = nn.silu(nn.LayerNorm()(x))
            x = nn.Dropout(self.dropout, deterministic=deterministic)(x)
            x = nn.Dense(size)(x)
        return x


class Predictor(NamedTuple):
    """An encoder with a head as pure functions.

    Attributes:
      encoder: from parameters to latents.
      init: `init(key) -> variables`: those of the encoder, and "head".
      predict: `predict(variables, params_batch, key=None)`: the outputs `[*N, C]`;
        with a key all dropout is active.
    """

    encoder: _encoder.Encoder
    init: Callable[[Key], _encoder.Variables]
    predict: Callable[..., Array]

    @property
    def network(self) -> networks.Network:
        """Architecture of the networks that go in."""
        return self.encoder.network


def make_predictor(
    encoder: _encoder.Encoder,
    num_outputs: int,
    *,
    hidden_sizes: Sequence[int] = (),
    dropout: float = 0.0,
) -> Predictor:
    """Put a head on an encoder.

    Invariant to whatever the encoder is invariant to.

    Args:
      encoder: from parameters to latents `[*N, D]`.
      num_outputs: number of outputs `C`.
      hidden_sizes: see `MLPHead`.
      dropout: see `MLPHead`; that of the encoder is its own.

    Returns:
      The predictor.

    Raises:
      ValueError: sizes below 1, or dropout outside [0, 1).
    """
    head = MLPHead(num_outputs, tuple(hidden_sizes), dropout)

    def init(key: Key) -> _encoder.Variables:
        variables, latents = encoder.init_with_output(key)
        head_key = jax.random.fold_in(key, len(variables))
        return variables | {"head": head.init(head_key, latents)}

    def predict(
        variables: _encoder.Variables, params_batch: Params, key: Key | None = None
    ) -> Array:
        encoder_key = rngs = None
        if key is not None:
            encoder_key, head_key = jax.random.split(key)
            rngs = {"dropout": head_key}
        latents = encoder.encode(variables, params_batch, encoder_key)
        outputs: Any = head.apply(
            variables["head"], latents, deterministic=key is None, rngs=rngs
        )
        return outputs

    return Predictor(encoder, init, predict)
