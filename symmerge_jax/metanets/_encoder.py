"""Encoders: parameters of a network to a latent, from its weights, its outputs or both.

An encoder of weights is a module on graphs; a probe encoder is one on functions. Where
there are both, the latent is the sum of theirs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from symmerge_jax import graphs, networks, symmetry
from symmerge_jax.typing import Array, Key, Params

Variables = Any
"""Parameters of the modules, an entry per part: `{"encoder": ..., "probe": ...}`. They
are Flax variables, a pytree for optimizers and checkpoints."""


class Encoder(NamedTuple):
    """An encoder of network parameters as pure functions.

    Attributes:
      network: architecture of the networks that go in.
      topology: their weight graph.
      init_with_output: `init_with_output(key) -> (variables, latents)`, the latents
        `[D]` of a random network.
      encode_parts: `encode_parts(variables, params_batch, key=None)`: the latents
        `[*N, D]` of every part, "encoder" and "probe"; with a key the encoder's dropout
        is active.
    """

    network: networks.Network
    topology: graphs.Topology
    init_with_output: Callable[[Key], tuple[Variables, Array]]
    encode_parts: Callable[..., dict[str, Array]]

    def init(self, key: Key) -> Variables:
        """Return random parameters: an entry "encoder", "probe", or both."""
        return self.init_with_output(key)[0]

    def encode(
        self, variables: Variables, params_batch: Params, key: Key | None = None
    ) -> Array:
        """Return the latents `[*N, D]`: the sum over the parts."""
        return _sum(self.encode_parts(variables, params_batch, key))

    @property
    def latent_size(self) -> int:
        """Size `D` of the latents."""
        _, latents = jax.eval_shape(self.init_with_output, jax.random.key(0))
        return latents.shape[-1]


def make_encoder(
    network: networks.Network,
    topology: graphs.Topology,
    module: nn.Module | None,
    probe: nn.Module | None,
    *,
    input_value: float = 1.0,
) -> Encoder:
    """Join an encoder of weights and one of outputs.

    Args:
      network: architecture of the networks to be encoded.
      topology: their weight graph.
      module: reads the weights, with phases of sines folded: from a
        `jraph.GraphsTuple` to latents `[*N, D]`, called with the keyword
        `deterministic`; or None.
      probe: reads the function: from `points -> outputs` to latents `[*N, D]`, added
        to those of `module`; or None.
      input_value: node feature of input neurons.

    Returns:
      The encoder.

    Raises:
      ValueError: if there is neither an encoder nor a probe.
    """
    if module is None and probe is None:
        raise ValueError("An encoder needs a module of weights, a probe, or both.")

    def parts_of(params_batch: Params):
        """Yield name, module and input of every part."""
        if module is not None:
            folded = symmetry.fold_phases(params_batch, network.spec)
            graph = graphs.params_to_graph(folded, topology, input_value=input_value)
            yield "encoder", module, graph
        if probe is not None:
            yield "probe", probe, _evaluator(network, params_batch)

    def init_with_output(key: Key) -> tuple[Variables, Array]:
        variables, latents = {}, {}
        for number, (name, part, x) in enumerate(parts_of(network.init(key))):
            part_key = jax.random.fold_in(key, number)
            latents[name], variables[name] = part.init_with_output(part_key, x)
        return variables, _sum(latents)

    def encode_parts(
        variables: Variables, params_batch: Params, key: Key | None = None
    ) -> dict[str, Array]:
        rngs = None if key is None else {"dropout": key}
        dropout: dict[str, Any] = {"deterministic": key is None, "rngs": rngs}
        latents: dict[str, Any] = {}
        for name, part, x in parts_of(params_batch):
            options = dropout if name == "encoder" else {}
            latents[name] = part.apply(variables[name], x, **options)
        return latents

    return Encoder(network, topology, init_with_output, encode_parts)


class NodeEncoder(NamedTuple):
    """An encoder of the neurons of networks as pure functions.

    Attributes:
      init: `init(key) -> variables`.
      features: `features(variables, params_batch) -> {space: [N, n, D]}` for batches
        `[N]` of networks; of every hidden space, permuted with its neurons.
    """

    init: Callable[[Key], Variables]
    features: Callable[[Variables, Params], dict[str, Array]]


def make_node_encoder(
    network: networks.Network,
    topology: graphs.Topology,
    module: Any,
    *,
    input_value: float = 1.0,
) -> NodeEncoder:
    """Return the encoder of neurons inside an encoder of networks.

    Args:
      network: architecture of the networks.
      topology: their weight graph.
      module: with a method `node_features`, from a `jraph.GraphsTuple` to `[N, V, D]`.
      input_value: node feature of input neurons.
    """

    def to_graph(params_batch: Params):
        return graphs.params_to_graph(params_batch, topology, input_value=input_value)

    def init(key: Key) -> Variables:
        one = jax.tree.map(lambda x: x[None], network.init(key))
        return module.init(key, to_graph(one), method="node_features")

    def features(variables: Variables, params_batch: Params) -> dict[str, Array]:
        graph = to_graph(params_batch)
        nodes = module.apply(variables, graph, method="node_features")
        return {
            space.name: nodes[:, where]
            for space, where in zip(topology.spaces, topology.node_slices, strict=True)
            if space.role == "hidden"
        }

    return NodeEncoder(init, features)


class ProbeEncoder(nn.Module):
    """Encode functions by their outputs at learned points.

    It asks a network what it computes instead of how (probe features: Kofinas et al.
    2024, arXiv 2403.12143, section 3.2). Twins compute the same function, so the result
    is invariant to *every* symmetry of the parameters, known or not, and it costs no
    more than rendering a few pixels, or classifying a few images.

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

        `evaluate` maps points `[K, *input_shape]` to outputs `[*N, K, O]` of networks.
        """
        points = self.param("points", _uniform, (self.num_probes, *self.input_shape))
        outputs = evaluate(jnp.asarray(points))
        x = outputs.reshape(*outputs.shape[:-2], -1)
        x = nn.LayerNorm()(nn.Dense(self.width)(x))
        return nn.Dense(self.latent_size)(nn.silu(x))


def _uniform(key: Key, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _sum(parts: dict[str, Array]) -> Array:
    first, *others = parts.values()
    return sum(others, first)


def _evaluator(
    network: networks.Network, params_batch: Params
) -> Callable[[Array], Array]:
    """Return `points -> outputs [*N, K, O]` of a batch of networks."""
    function = network.apply
    for _ in network.spec.batch_shape(params_batch):
        function = jax.vmap(function, in_axes=(0, None))
    return lambda points: function(params_batch, points)
