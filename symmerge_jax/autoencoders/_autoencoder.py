"""Encoder and decoder joined: parameters to latent to parameters.

Boufalis et al. 2025, arXiv 2511.12601. The encoder is invariant to the symmetry of its
input, so all twins of a network are decoded to one network, their representative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from symmerge_jax import graphs, networks
from symmerge_jax.autoencoders import _encoder
from symmerge_jax.typing import Array, Key, Params


class Autoencoder(NamedTuple):
    """An autoencoder of network parameters as pure functions.

    Attributes:
      encoder: from parameters to latents; the autoencoder has its attributes too.
      init: `init(key) -> variables`: those of the encoder, and "decoder".
      decode: `decode(variables, latents) -> params_batch`.
    """

    encoder: _encoder.Encoder
    init: Callable[[Key], _encoder.Variables]
    decode: Callable[[_encoder.Variables, Array], Params]

    @property
    def network(self) -> networks.Network:
        """Architecture of the networks that go in and come out."""
        return self.encoder.network

    @property
    def topology(self) -> graphs.Topology:
        """Weight graph of the networks."""
        return self.encoder.topology

    def encode_parts(
        self,
        variables: _encoder.Variables,
        params_batch: Params,
        key: Key | None = None,
    ) -> dict[str, Array]:
        """Return the latents of every part, see `Encoder.encode_parts`."""
        return self.encoder.encode_parts(variables, params_batch, key)

    def encode(
        self,
        variables: _encoder.Variables,
        params_batch: Params,
        key: Key | None = None,
    ) -> Array:
        """Return the latents `[*N, D]`: the sum over the parts."""
        return self.encoder.encode(variables, params_batch, key)

    def reconstruct(
        self, variables: _encoder.Variables, params_batch: Params
    ) -> Params:
        """Return the decoded latents: the representatives of a batch of networks."""
        return self.decode(variables, self.encode(variables, params_batch))


def autoencoder(encoder: _encoder.Encoder, decoder: nn.Module) -> Autoencoder:
    """Join an encoder and a decoder.

    Args:
      encoder: from parameters to latents `[*N, D]`.
      decoder: from latents `[*N, D]` to parameters.

    Returns:
      The autoencoder.
    """

    def init(key: Key) -> _encoder.Variables:
        variables, latents = encoder.init_with_output(key)
        decoder_key = jax.random.fold_in(key, len(variables))
        return variables | {"decoder": decoder.init(decoder_key, latents)}

    def decode(variables: _encoder.Variables, latents: Array) -> Params:
        params: Any = decoder.apply(variables["decoder"], latents)
        return params

    return Autoencoder(encoder, init, decode)
