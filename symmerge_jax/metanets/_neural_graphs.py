"""Neural Graphs: encoders of networks, invariant to permutations of hidden neurons.

Kofinas et al. 2024 (arXiv 2403.12143): random Fourier features of weights and biases,
message passing along the edges, and the features of the output neurons side by side.
They know nothing of signs and scales. `NeuralGraphs` has the layers of principal
neighbourhood aggregation that Boufalis et al. 2025 (arXiv 2511.12601) compare with,
`RelationalTransformer` attention.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax import graphs
from symmerge_jax.metanets import (
    _affine,
    _fourier_features,
    _inputs,
    _options,
    _pna,
    _relational,
)
from symmerge_jax.typing import Array


class NeuralGraphs(nn.Module):
    """Encoder of weight graphs by principal neighbourhood aggregation (PNA).

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: size `D` of all node, edge and hidden features.
      latent_size: size of the latent, by one more affine map; None for the features of
        the output neurons side by side, `num_outputs * width` (published).
      num_layers: number of message-passing steps, >= 1.
      num_frequencies: number `K` of random frequencies; fixed, saved with the model in
        the collection "constants".
      frequency_scale: their standard deviation, > 0.
      norm: over what node features are normalised after a step: "graph" (one network),
        "node", or "batch". "batch" is what the published code does: the latent of a
        network then depends on the others in its batch; for comparisons only.
      dropout: probability to drop a node feature after every step but the last.
      input_moments: what raw weights and biases are standardised by, see
        `input_moments`; None to leave them as they are.
      remat: whether the backward pass computes each step again instead of storing it.
    """

    topology: graphs.Topology
    width: int = 128
    latent_size: int | None = None
    num_layers: int = 4
    num_frequencies: int = 128
    frequency_scale: float = 3.0
    norm: str = "graph"
    dropout: float = 0.0
    input_moments: _inputs.InputMoments | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the latents `[*N, latent_size]` of a batch of networks.

        Args:
          graph: nodes `[*N, V, 1]`, edges `[*N, E, F]`, from `graphs.params_to_graph`
            with a topology made with `linear_as_conv=True`.
          deterministic: False to drop features, with a key named "dropout".

        Raises:
          ValueError: if the graph does not fit the topology, or an option is unknown.
        """
        return _read(self, self._features(graph, deterministic), graph)

    def node_features(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the node features after the last layer, `[*N, V, width]`.

        Permuted with the hidden neurons. Called as `encoder.apply(variables, graph,
        method="node_features")`.
        """
        return _join(self._features(graph, deterministic), graph)

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[Array, ...]:
        _options.check_sizes(self)
        if self.norm not in _pna.NORMS:
            raise ValueError(f"norm must be one of {_pna.NORMS}, got {self.norm!r}.")
        x, e, _ = _embed(self, graph, self.width, _affine.init_affine)
        for t in range(self.num_layers):
            last = t + 1 == self.num_layers
            init = functools.partial(_pna.init_pna, width=self.width, last=last)
            params = self.param(f"layer_{t}", init)
            step = _pna.pna
            if self.remat:
                step = jax.checkpoint(step, static_argnums=(1, 2))
            x, e = step(params, self.topology, self.norm, x, e)
            if self.dropout and not (last or deterministic):
                x = _affine.drop(self.make_rng("dropout"), x, self.dropout)
        return x


class RelationalTransformer(nn.Module):
    """Encoder of weight graphs by attention along their edges.

    Every neuron attends to those that it reads and those that read it; the features of
    the edge between two neurons, one per direction, enter queries, keys and values, and
    are updated in turn. The published model attends to *all* pairs of neurons, with
    zeros where there is no edge; here time and memory are linear in the edges.

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: size `D` of node features, a multiple of 4; edges have `D / 2`, attention
        and the hidden layer of nodes `2 D` (published: 64).
      latent_size: size of the latent; None for `num_outputs * width`.
      num_layers: number of attention layers, >= 1.
      num_heads: attention heads; divides `2 * width`.
      num_frequencies: see `NeuralGraphs`.
      frequency_scale: see `NeuralGraphs`.
      dropout: probability to drop a node feature after every layer but the last.
      input_moments: see `NeuralGraphs`.
      remat: whether the backward pass computes each layer again instead of storing it.
    """

    topology: graphs.Topology
    width: int = 64
    latent_size: int | None = None
    num_layers: int = 4
    num_heads: int = 8
    num_frequencies: int = 128
    frequency_scale: float = 1.0
    dropout: float = 0.0
    input_moments: _inputs.InputMoments | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the latents `[*N, latent_size]` of a batch of networks.

        Args:
          graph: see `NeuralGraphs`.
          deterministic: False to drop features, with a key named "dropout".

        Raises:
          ValueError: if the graph does not fit the topology, or a size is impossible.
        """
        return _read(self, self._features(graph, deterministic), graph)

    def node_features(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the node features after the last layer, `[*N, V, width]`.

        Permuted with the hidden neurons. Called as `encoder.apply(variables, graph,
        method="node_features")`.
        """
        return _join(self._features(graph, deterministic), graph)

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[Array, ...]:
        _options.check_sizes(self)
        if self.width % 2 or 2 * self.width % self.num_heads:
            raise ValueError(
                f"width={self.width} must be even, and 2 * width a multiple of"
                f" num_heads={self.num_heads}."
            )
        x, e, projections = _embed(self, graph, self.width // 2, _affine.init_xavier)
        nothing = _fourier_features.embed_no_edge(projections)
        pairs = tuple(
            (seen, jnp.broadcast_to(nothing, jnp.swapaxes(seen, 1, 2).shape))
            for seen in e
        )
        for t in range(self.num_layers):
            last = t + 1 == self.num_layers
            init = functools.partial(
                _relational.init_relational, width=self.width, last=last
            )
            params = self.param(f"layer_{t}", init)
            step = _relational.relational
            if self.remat:
                step = jax.checkpoint(step, static_argnums=(1, 2))
            x, pairs = step(params, self.topology, self.num_heads, x, pairs)
            if self.dropout and not (last or deterministic):
                x = _affine.drop(self.make_rng("dropout"), x, self.dropout)
        return x


def _embed(module, graph: jraph.GraphsTuple, edge_size: int, init_affine):
    """Return node features per space, edge features per block, and the projections."""
    nodes, edges = _options.features(module.topology, graph)
    key = functools.partial(module.make_rng, "params")
    frequencies = module.variable(
        "constants",
        "frequencies",
        lambda: _fourier_features.init_frequencies(
            key(), module.topology, module.num_frequencies, module.frequency_scale
        ),
    )
    projections = module.param(
        "projections",
        lambda key: _fourier_features.init_projections(
            key,
            module.topology,
            module.num_frequencies,
            module.width,
            edge_size,
            init_affine,
        ),
    )
    x, e = _fourier_features.embed(
        frequencies.value,
        projections,
        module.topology,
        module.input_moments,
        nodes.reshape(-1, *nodes.shape[-2:]),
        edges.reshape(-1, *edges.shape[-2:]),
    )
    return x, e, projections


def _read(module, nodes: tuple[Array, ...], graph: jraph.GraphsTuple) -> Array:
    """Return the latents: the output neurons side by side, mapped where asked for."""
    outputs = [
        x
        for space, x in zip(module.topology.spaces, nodes, strict=True)
        if space.role == "output"
    ]
    x = jnp.concatenate(outputs, axis=1)
    x = x.reshape(len(x), -1)
    if module.latent_size is not None:
        init = functools.partial(
            _affine.init_affine, size=x.shape[-1], output_size=module.latent_size
        )
        x = _affine.affine(module.param("readout", init), x)
    raw: Any = graph.nodes
    return x.reshape(*raw.shape[:-2], -1)


def _join(nodes: tuple[Array, ...], graph: jraph.GraphsTuple) -> Array:
    """Return the features of all neurons, `[*N, V, D]`."""
    x = jnp.concatenate(nodes, axis=1)
    raw: Any = graph.nodes
    return x.reshape(*raw.shape[:-2], *x.shape[1:])
