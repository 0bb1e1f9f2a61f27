"""ScaleGMN: an encoder of networks, invariant to the symmetries of their weights.

Kalogeropoulos et al. 2024 (arXiv 2406.10685), in the configurations of the autoencoders
of Boufalis et al. 2025 (arXiv 2511.12601).
"""

import functools

import jax
import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine, _ends, _inputs, _message_passing, _options
from symmerge_jax.typing import Array


class ScaleGMN(nn.Module):
    """Encoder of weight graphs of one architecture.

    Invariant: `encoder(g . params) = encoder(params)` for every element `g` of the
    group `symmetry` on the hidden neurons, up to rounding; not to permutations of input
    or output neurons. With `ablate_symmetry`, or symmetry "permutation", only to
    permutations. Dropout keeps the law for signs and scales: it multiplies features.

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: size `D` of all node, edge and hidden features.
      latent_size: size of the latent; None for `width`.
      num_layers: number of message-passing steps, >= 1.
      symmetry: "sign" (odd activations), "scale" (positively homogeneous ones),
        "permutation" (any) or "hetero" (sign or scale, network by network, as a switch
        in `graph.globals` says); None for the group of the topology's hidden spaces.
      io: branch of input and output neurons: "gated" or "mlp".
      num_io_mlps: 1 if input and output neurons share its MLP, 2 if each has its own.
      node_embedding: whether node types have learned vectors.
      edge_embedding: whether edge types have learned vectors.
      skip: whether a linear map of the old node features is added in every step.
      dropout: probability to drop a node feature after every step, in [0, 1).
      aggregator: "sum" or "mean" over incoming messages.
      readout: "full_graph", from the pooled hidden and all input and output neurons, or
        "last_layer", from the output neurons alone.
      symmetrize: for signs, whether the canonicalisation is `rho(x) + rho(-x)`; `|x|`
        otherwise.
      ablate_symmetry: whether `rho(x)` replaces it: the ablation of the paper.
      bidirectional: whether messages also run from targets to sources. Not for "scale"
        and "hetero": it would need the reciprocal of every weight.
      input_value: replaces the features of input neurons; None to keep the graph's.
      input_scale: positive factors for the raw weights and biases, see `input_scale`.
      norm_epsilon: for "scale", added to norms. The published code has 1e-10; zero
        keeps the law for features of any size.
      unit_rows: for "scale", whether hidden neurons are first rescaled so that what
        each one reads has norm one. It changes no value in exact arithmetic, costs next
        to nothing, and keeps the law where products are rounded to few bits, as they
        are by default on GPU and TPU.
      remat: whether the backward pass computes each step again instead of storing it.

    Example:
      >>> import jax
      >>> from symmerge_jax import graphs, metanets, networks
      >>> network = networks.siren((2, 4, 4, 1))
      >>> params = network.init(jax.random.key(0))
      >>> topology = graphs.topology(network.spec, params)
      >>> encoder = metanets.ScaleGMN(topology, width=8, num_layers=2)
      >>> graph = graphs.params_to_graph(params, topology)
      >>> variables = jax.jit(encoder.init)(jax.random.key(1), graph)
      >>> jax.jit(encoder.apply)(variables, graph).shape
      (8,)
    """

    topology: graphs.Topology
    width: int = 128
    latent_size: int | None = None
    num_layers: int = 4
    symmetry: str | None = None
    io: str = "gated"
    num_io_mlps: int = 1
    node_embedding: bool = True
    edge_embedding: bool = True
    skip: bool = True
    dropout: float = 0.2
    aggregator: str = "sum"
    readout: str = "full_graph"
    symmetrize: bool = True
    ablate_symmetry: bool = False
    bidirectional: bool = False
    input_value: float | None = None
    input_scale: _inputs.InputScale | None = None
    norm_epsilon: float = 0.0
    unit_rows: bool = True
    remat: bool = False

    def __call__(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the latents of a batch of networks.

        Args:
          graph: nodes `[*N, V, 1]`, edges `[*N, E, F]`, from `graphs.params_to_graph`;
            for "hetero" with globals `[*N, 1]`, 0 for signs and 1 for scales.
          deterministic: False to drop features, with a key named "dropout".

        Returns:
          `[*N, latent_size]`.

        Raises:
          ValueError: if the graph does not fit the topology, or an option is unknown.
        """
        nodes, _ = self._features(graph, deterministic)
        params = self._readout_params()
        feature_map = self._rules().feature_map
        latents = _ends.readout(
            params,
            self.topology,
            feature_map,
            nodes,
            _options.switch(feature_map, graph),
            which=self.readout,
        )
        return latents.reshape(*_batch(graph), -1)

    def node_features(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the node features before the readout, `[*N, V, D]`.

        Equivariant: permuted with the hidden neurons and multiplied by their signs or
        scales; invariant at input and output neurons. Called as
        `encoder.apply(variables, graph, method="node_features")`.
        """
        features, scales = self._features(graph, deterministic)
        nodes = jnp.concatenate(features, axis=-2)
        if scales is not None:
            nodes = nodes / scales[..., None]
        return nodes.reshape(*_batch(graph), *nodes.shape[-2:])

    @nn.nowrap
    def _rules(self) -> _message_passing.Rules:
        return _message_passing.Rules(
            feature_map=_options.feature_map(self),
            io=self.io,
            num_io_mlps=self.num_io_mlps,
            bidirectional=self.bidirectional,
            skip=self.skip,
            aggregator=self.aggregator,
        )

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[_message_passing.Nodes, Array | None]:
        """Return the node features, and the scales `[N, V]` of what they describe."""
        _options.check_choices(self)
        nodes, edges = _options.features(self.topology, graph)
        nodes = nodes.reshape(-1, *nodes.shape[-2:])
        edges = edges.reshape(-1, *edges.shape[-2:])
        rules = self._rules()
        multiply = rules.feature_map is not None
        if self.input_value is not None:
            is_input = self.topology.input_mask[None, :, None]
            nodes = jnp.where(is_input, self.input_value, nodes)
        if self.input_scale is not None:
            nodes, edges = _inputs.multiply(
                self.input_scale, self.topology, nodes, edges
            )
        switch = _options.switch(rules.feature_map, graph)
        scales = None
        if self.unit_rows and _options.is_scaled(rules.feature_map):
            nodes, edges, scales = _inputs.unit_rows(
                self.topology, nodes, edges, switch
            )
        embedding = self.param(
            "embedding",
            lambda key: _ends.init_embedding(
                key,
                self.topology,
                self.width,
                node_embedding=self.node_embedding,
                edge_embedding=self.edge_embedding,
            ),
        )
        x = _ends.embed_nodes(embedding, self.topology, nodes, multiply=multiply)
        e = _ends.embed_edges(embedding, self.topology, edges, multiply=multiply)
        for t in range(self.num_layers):
            init = functools.partial(
                _message_passing.init_message_passing,
                width=self.width,
                rules=rules,
                update_edges=t + 1 < self.num_layers,
            )
            params = self.param(f"layer_{t}", init)
            step = _message_passing.message_passing
            if self.remat:
                step = jax.checkpoint(step, static_argnums=(1, 2))
            x, e = step(params, self.topology, rules, x, e, switch)
            if self.dropout and not deterministic:
                x = _affine.drop(self.make_rng("dropout"), x, self.dropout)
        return x, scales

    @nn.compact
    def _readout_params(self):
        return self.param(
            "readout",
            lambda key: _ends.init_readout(
                key,
                self.topology,
                self._rules().feature_map,
                self.width,
                self.latent_size or self.width,
                which=self.readout,
            ),
        )


def _batch(graph):
    return graph.nodes.shape[:-2]
