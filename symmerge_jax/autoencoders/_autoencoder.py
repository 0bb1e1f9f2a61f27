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
"""Parameters of the autoencoder itself: one entry per part."""


class Autoencoder(NamedTuple):
    """An autoencoder of network parameters as pure functions.

    Attributes:
      network: architecture of the networks that go in and come out.
      topology: their weight graph.
      init: `init(key) -> variables`.
      encode_parts: `encode_parts(variables, params_batch, key=None)`: the latents
        `[*N, D]` of every part, "encoder" and "probe"; with a key the encoder's dropout
        is active.
      decode: `decode(variables, latents) -> params_batch`.
    """

    network: networks.Network
    topology: graphs.Topology
    init: Callable[[Key], Variables]
    encode_parts: Callable[..., dict[str, Array]]
    decode: Callable[[Variables, Array], Params]

    def encode(
        self, variables: Variables, params_batch: Params, key: Key | None = None
    ) -> Array:
        """Return the latents `[*N, D]`: the sum over the parts."""
        return _sum(self.encode_parts(variables, params_batch, key))

    def reconstruct(self, variables: Variables, params_batch: Params) -> Params:
        """Return the decoded latents: the representatives of a batch of networks."""
        return self.decode(variables, self.encode(variables, params_batch))


def autoencoder(
    network: networks.Network,
    topology: graphs.Topology,
    encoder: nn.Module | None,
    probe: nn.Module | None,
    decoder: nn.Module,
    *,
    input_value: float = 1.0,
) -> Autoencoder:
    """Join encoders and a decoder.

    Args:
      network: architecture of the networks to be encoded.
      topology: their weight graph.
      encoder: reads the weights: from a `jraph.GraphsTuple` to latents `[*N, D]`,
        called with the keyword `deterministic`; or None.
      probe: reads the function: from `points -> outputs` to latents `[*N, D]`, added
        to those of `encoder`; or None. One of the two must be there.
      decoder: from latents `[*N, D]` to parameters.
      input_value: node feature of input neurons.

    Returns:
      The autoencoder.

    Raises:
      ValueError: if there is neither an encoder nor a probe.
    """
    if encoder is None and probe is None:
        raise ValueError("An autoencoder needs an encoder, a probe, or both.")

    def read(run, params_batch: Params, key: Key | None) -> dict[str, Array]:
        """Return what `run(name, module, *inputs, **keywords)` returns by part."""
        latents = {}
        if encoder is not None:
            graph = graphs.params_to_graph(
                params_batch, topology, input_value=input_value
            )
            rngs = None if key is None else {"dropout": key}
            dropout: dict[str, Any] = {"deterministic": key is None, "rngs": rngs}
            latents["encoder"] = run("encoder", encoder, graph, **dropout)
        if probe is not None:
            evaluate = _evaluator(network, params_batch)
            latents["probe"] = run("probe", probe, evaluate)
        return latents

    def init(key: Key) -> Variables:
        variables = {}

        def run(name, module, *inputs, **keywords):
            del keywords
            part_key = jax.random.fold_in(key, len(variables))
            output, variables[name] = module.init_with_output(part_key, *inputs)
            return output

        params = network.init(key)
        run("decoder", decoder, _sum(read(run, params, None)))
        return variables

    def encode_parts(
        variables: Variables, params_batch: Params, key: Key | None = None
    ) -> dict[str, Array]:
        def run(name, module, *inputs, **keywords):
            return module.apply(variables[name], *inputs, **keywords)

        return read(run, params_batch, key)

    def decode(variables: Variables, latents: Array) -> Params:
        params: Any = decoder.apply(variables["decoder"], latents)
        return params

    return Autoencoder(network, topology, init, encode_parts, decode)


def _sum(parts: dict[str, Array]) -> Array:
    first, *others = parts.values()
    return sum(others, first)


def _evaluator(network: networks.Network, params_batch: Params):
    """Return `points -> outputs [*N, K, O]` of a batch of networks."""
    function = network.apply
    for _ in network.spec.batch_shape(params_batch):
        function = jax.vmap(function, in_axes=(0, None))
    return lambda points: function(params_batch, points)
