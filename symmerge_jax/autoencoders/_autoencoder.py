"""Encoder and decoder joined: parameters to latent to parameters.

Boufalis et al. 2025, arXiv 2511.12601. The encoder is invariant to the symmetry of its
input, so all twins of a network are decoded to one network, their representative.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from symmerge_jax import graphs, metanets, networks, symmetry
from symmerge_jax.autoencoders import _decoder
from symmerge_jax.typing import Array, Key, Params


class Autoencoder(NamedTuple):
    """An autoencoder of network parameters as pure functions.

    Attributes:
      encoder: from parameters to latents; the autoencoder has its attributes too.
      init: `init(key) -> variables`: those of the encoder, and "decoder".
      decode: `decode(variables, latents) -> params_batch`.
    """

    encoder: metanets.Encoder
    init: Callable[[Key], metanets.Variables]
    decode: Callable[[metanets.Variables, Array], Params]

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
        variables: metanets.Variables,
        params_batch: Params,
        key: Key | None = None,
    ) -> dict[str, Array]:
        """Return the latents of every part, see `Encoder.encode_parts`."""
        return self.encoder.encode_parts(variables, params_batch, key)

    def encode(
        self,
        variables: metanets.Variables,
        params_batch: Params,
        key: Key | None = None,
    ) -> Array:
        """Return the latents `[*N, D]`: the sum over the parts."""
        return self.encoder.encode(variables, params_batch, key)

    def reconstruct(
        self, variables: metanets.Variables, params_batch: Params
    ) -> Params:
        """Return the decoded latents: the representatives of a batch of networks."""
        return self.decode(variables, self.encode(variables, params_batch))


def make_autoencoder(encoder: metanets.Encoder, decoder: nn.Module) -> Autoencoder:
    """Join an encoder and a decoder.

    Args:
      encoder: from parameters to latents `[*N, D]`.
      decoder: from latents `[*N, D]` to parameters.

    Returns:
      The autoencoder.
    """

    def init(key: Key) -> metanets.Variables:
        variables, latents = encoder.init_with_output(key)
        decoder_key = jax.random.fold_in(key, len(variables))
        return variables | {"decoder": decoder.init(decoder_key, latents)}

    def decode(variables: metanets.Variables, latents: Array) -> Params:
        params: Any = decoder.apply(variables["decoder"], latents)
        return params

    return Autoencoder(encoder, init, decode)


def build(
    architecture: Mapping[str, Any],
    encoder_options: Mapping[str, Any],
    decoder_options: Mapping[str, Any],
    statistics: metanets.Statistics,
) -> Autoencoder:
    """Return the autoencoder that three descriptions name.

    Args:
      architecture: of the networks to be encoded, see `networks.build`.
      encoder_options: see `metanets.build_encoder`.
      decoder_options: `hidden_multipliers` of the encoder's width, and `head`.
      statistics: of the population that the autoencoder is trained on.

    Returns:
      The autoencoder.

    Raises:
      ValueError: unknown kind or option, or statistics of another architecture.
    """
    built = metanets.build_encoder(architecture, encoder_options, statistics)
    shapes = jax.eval_shape(built.network.init, jax.random.key(0))
    tensors = symmetry.tensor_shapes(shapes)
    options = dict(decoder_options)
    multipliers = options.pop("hidden_multipliers", (2, 4))
    width = encoder_options.get("width", metanets.WIDTH)
    options |= {
        "shapes": tensors,
        "hidden_sizes": tuple(int(m * width) for m in multipliers),
        "moments": _decoder.moments_of(statistics, tensors),
    }
    try:
        module = _decoder.MLPDecoder(**options)
    except TypeError as error:
        raise ValueError(f"Decoder: {error}") from error
    return make_autoencoder(built, module)
