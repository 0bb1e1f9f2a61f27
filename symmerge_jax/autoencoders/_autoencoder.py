"""Encoder and decoder joined: parameters to latent to parameters.

Boufalis et al. 2025, arXiv 2511.12601. The encoder is invariant to the symmetry of its
input, so all twins of a network are decoded to one network, their representative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from symmerge_jax import graphs, networks
from symmerge_jax.typing import Array, Key, Params

Variables = Any
"""Parameters of the autoencoder itself: `{"encoder": ..., "decoder": ...}`."""


class Autoencoder(NamedTuple):
    """An autoencoder of network parameters as pure functions.

    Attributes:
      network: architecture of the networks that go in and come out.
      topology: their weight graph.
      init: `init(key) -> variables`.
      encode: `encode(variables, params_batch, key=None) -> [*N, D]` latents; with a key
        the encoder's dropout is active.
      decode: `decode(variables, latents) -> params_batch`.
    """

    network: networks.Network
    topology: graphs.Topology
    init: Callable[[Key], Variables]
    encode: Callable[..., Array]
    decode: Callable[[Variables, Array], Params]

    def reconstruct(self, variables: Variables, params_batch: Params) -> Params:
        """Return the decoded latents: the representatives of a batch of networks."""
        return self.decode(variables, self.encode(variables, params_batch))


def autoencoder(
    network: networks.Network,
    topology: graphs.Topology,
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    input_value: float = 1.0,
) -> Autoencoder:
    """Join an encoder and a decoder.

    Args:
      network: architecture of the networks to be encoded.
      topology: their weight graph.
      encoder: module from a `jraph.GraphsTuple` to latents `[*N, D]`, called with the
        keyword `deterministic`.
      decoder: module from latents `[*N, D]` to parameters.
      input_value: node feature of neurons without a bias.

    Returns:
      The autoencoder.
    """

    def to_graph(params_batch: Params):
        return graphs.params_to_graph(params_batch, topology, input_value=input_value)

    def init(key: Key) -> Variables:
        encoder_key, decoder_key, network_key = jax.random.split(key, 3)
        graph = to_graph(network.init(network_key))
        latent, encoder_variables = encoder.init_with_output(encoder_key, graph)
        return {
            "encoder": encoder_variables,
            "decoder": decoder.init(decoder_key, latent),
        }

    def encode(
        variables: Variables, params_batch: Params, key: Key | None = None
    ) -> Array:
        graph = to_graph(params_batch)
        rngs = None if key is None else {"dropout": key}
        latents: Any = encoder.apply(
            variables["encoder"], graph, deterministic=key is None, rngs=rngs
        )
        return latents

    def decode(variables: Variables, latents: Array) -> Params:
        params: Any = decoder.apply(variables["decoder"], latents)
        return params

    return Autoencoder(network, topology, init, encode, decode)
