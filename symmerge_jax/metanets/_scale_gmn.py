"""ScaleGMN: an encoder of networks, invariant to the symmetries of their weights.

Kalogeropoulos et al. 2024 (arXiv 2406.10685), in the configurations of the autoencoders
of Boufalis et al. 2025 (arXiv 2511.12601).
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax import graphs
from symmerge_jax.metanets import (
    _ends,
    _equivariant,
    _graph_encoder,
    _inputs,
    _linear_messages,
    _message_passing,
)
from symmerge_jax.typing import Array

_CHOICES: dict[str, tuple[Any, ...]] = {
    "messages": ("mlp", "linear"),
    "symmetry": (None, "sign", "scale", "hetero", "permutation"),
    "io": ("gated", "mlp"),
    "num_io_mlps": (1, 2),
    "aggregator": ("sum", "mean"),
    "readout": ("full_graph", "last_layer"),
}

_MLP_OPTIONS = (
    "io",
    "num_io_mlps",
    "node_embedding",
    "edge_embedding",
    "skip",
    "aggregator",
    "symmetrize",
    "ablate_symmetry",
    "norm_epsilon",
)
"""Options of the MLPs, which linear messages do without."""

_Features = tuple[tuple[Array, ...], Array | None]
"""Features per space, and the scales `[N, V]` of the twin that they describe."""


class ScaleGMN(_graph_encoder.GraphEncoder):
    """Encoder of weight graphs of one architecture.

    Invariant: `encoder(g . params) = encoder(params)` for every element `g` of the
    group `symmetry` on the hidden neurons, up to rounding; not to permutations of input
    or output neurons. Its node features are equivariant: multiplied by signs or scales.
    With `ablate_symmetry`, or symmetry "permutation", only permutations count. Dropout
    keeps the law for signs and scales: it multiplies features, after every layer.

    Besides the attributes of `GraphEncoder`, with `latent_size` by default `width`:

    Attributes:
      messages: "mlp", as published: an MLP maps every edge, whose features it updates;
        or "linear": products with the weight matrices, many times cheaper, see
        `_linear_messages`. Options from `io` on say how the MLPs are, and are refused
        beside linear messages, but for `readout`, `bidirectional` and those of inputs.
      symmetry: "sign" (odd activations), "scale" (positively homogeneous ones),
        "permutation" (any) or "hetero" (sign or scale, network by network, as a switch
        `[*N, 1]` in `graph.globals` says: 0 for signs, 1 for scales); None for the
        group of the topology's hidden spaces.
      io: branch of input and output neurons: "gated" or "mlp".
      num_io_mlps: 1 if input and output neurons share its MLP, 2 if each has its own.
      node_embedding: whether node types have learned vectors.
      edge_embedding: whether edge types have learned vectors.
      skip: whether a linear map of the old node features is added in every step.
      aggregator: "sum" or "mean" over incoming messages.
      readout: "full_graph", from the pooled hidden and all input and output neurons, or
        "last_layer", from the output neurons alone.
      symmetrize: for signs, whether features are mapped to `rho(x) + rho(-x)`; to `|x|`
        otherwise.
      ablate_symmetry: whether `rho(x)` replaces it: the ablation of the paper.
      bidirectional: whether messages also run from targets to sources. Not for "scale"
        and "hetero" with MLPs: it would need the reciprocal of every weight.
      input_value: replaces the features of input neurons; None to keep the graph's.
      input_scale: positive factors for the raw weights and biases, see `input_scale`.
      norm_epsilon: for "scale", added to norms. The published code has 1e-10; zero
        keeps the law for features of any size.
      unit_rows: for "scale", whether hidden neurons are first rescaled so that what
        each one reads has norm one. It changes no value in exact arithmetic, costs next
        to nothing, and keeps the law where products are rounded to few bits, as they
        are by default on GPU and TPU.

    Example:
      >>> import jax
      >>> from symmerge_jax import graphs, metanets, networks
      >>> network = networks.siren((2, 4, 1))
      >>> params = network.init(jax.random.key(0))
      >>> topology = graphs.topology(network.spec, params)
      >>> encoder = metanets.ScaleGMN(topology, width=8, num_layers=1)
      >>> graph = graphs.params_to_graph(params, topology)
      >>> variables = jax.jit(encoder.init)(jax.random.key(1), graph)
      >>> jax.jit(encoder.apply)(variables, graph).shape
      (8,)
    """

    messages: str = "mlp"
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

    @nn.compact
    def _features(self, graph: jraph.GraphsTuple, deterministic: bool) -> _Features:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
        nodes, edges = self._read(graph)
        rules = self._rules() if self.messages == "linear" else None
        feature_map = self._feature_map()
        if self.input_value is not None:
            is_input = self.topology.mask("input")[None, :, None]
            nodes = jnp.where(is_input, self.input_value, nodes)
        if self.input_scale is not None:
            nodes, edges = _inputs.multiply(
                self.input_scale, self.topology, nodes, edges
            )
        switch, scales = _switch(feature_map, graph), None
        has_scales = feature_map is not None and feature_map.has_scales
        if self.unit_rows and has_scales:
            nodes, edges, scales = _inputs.unit_rows(
                self.topology, nodes, edges, switch
            )
        if rules is not None:
            return self._linear(rules, nodes, edges, deterministic), scales
        init = functools.partial(
            _ends.init_embedding,
            topology=self.topology,
            width=self.width,
            node_embedding=self.node_embedding,
            edge_embedding=self.edge_embedding,
        )
        ends = (self.param("embedding", init), self.topology)
        multiply = feature_map is not None
        x = _ends.embed_nodes(*ends, nodes, multiply=multiply)
        e = _ends.embed_edges(*ends, edges, multiply=multiply)
        mlp_rules = _message_passing.Rules(
            feature_map=feature_map,
            io=self.io,
            num_io_mlps=self.num_io_mlps,
            bidirectional=self.bidirectional,
            skip=self.skip,
            aggregator=self.aggregator,
        )
        init = functools.partial(
            _message_passing.init_message_passing, width=self.width, rules=mlp_rules
        )
        step = functools.partial(
            _message_passing.message_passing,
            topology=self.topology,
            rules=mlp_rules,
            switch=switch,
        )
        layers = self._alike(init, step)
        x, _ = self._run(layers, (x, e), deterministic, drop_last=True)
        return x, scales

    @nn.nowrap
    def _linear(
        self,
        rules: _linear_messages.Rules,
        nodes: Array,
        edges: Array,
        deterministic: bool,
    ) -> tuple[Array, ...]:
        """Return the features of every space after linear messages."""
        init = functools.partial(
            _linear_messages.init_embedding, rules=rules, width=self.width
        )
        x = _linear_messages.embed(self.param("embedding", init), rules, nodes)
        init = functools.partial(
            _linear_messages.init_step, rules=rules, width=self.width
        )
        step = functools.partial(_linear_messages.step, rules=rules)
        blocks = _linear_messages.weights(rules, edges)
        layers = self._alike(init, step)
        if rules.symmetry != "scale":
            return self._run(layers, (x, blocks), deterministic, drop_last=True)[0]
        reads = _linear_messages.readers(rules, nodes, blocks)
        blocks = tuple(
            jnp.where(reads[block.source][..., None], w, 0)
            for block, w in zip(self.topology.blocks, blocks, strict=True)
        )
        x, _ = self._run(layers, (x, blocks), deterministic, drop_last=True)
        return tuple(jnp.where(r, y, 0) for r, y in zip(reads, x, strict=True))

    @nn.nowrap
    def _rules(self) -> _linear_messages.Rules:
        """Return the rules of linear messages; refuse what says nothing to them."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in _MLP_OPTIONS:
            if (value := getattr(self, name)) != defaults[name]:
                raise ValueError(
                    f"{name}={value!r} is for messages='mlp'; linear messages have no"
                    " such part."
                )
        symmetry = _resolve_symmetry(self.topology, self.symmetry)
        if symmetry == "hetero" or (symmetry == "scale" and not self.unit_rows):
            raise ValueError(
                "Linear messages carry the scales of neurons by unit_rows=True, and"
                " read networks of one group, 'sign', 'scale' or 'permutation'; got"
                f" {symmetry!r} and unit_rows={self.unit_rows}."
            )
        return _linear_messages.Rules(self.topology, symmetry, self.bidirectional)

    @nn.nowrap
    def _latents(self, features: _Features, graph: jraph.GraphsTuple) -> Array:
        if self.messages == "linear":
            rules, which = self._rules(), self.readout
            init = functools.partial(
                _linear_messages.init_readout,
                rules=rules,
                width=self.width,
                latent_size=self.latent_size or self.width,
                which=which,
            )
            params = self.param("readout", init)
            return _linear_messages.readout(params, rules, features[0], which=which)
        feature_map = self._feature_map()
        init = functools.partial(
            _ends.init_readout,
            topology=self.topology,
            feature_map=feature_map,
            width=self.width,
            latent_size=self.latent_size or self.width,
            which=self.readout,
        )
        return _ends.readout(
            self.param("readout", init),
            self.topology,
            feature_map,
            features[0],
            _switch(feature_map, graph),
            which=self.readout,
        )

    @nn.nowrap
    def _nodes(self, features: _Features) -> Array:
        nodes, scales = jnp.concatenate(features[0], axis=-2), features[1]
        return nodes if scales is None else nodes / scales[..., None]

    @nn.nowrap
    def _feature_map(self) -> _equivariant.FeatureMap | None:
        """Return the map that the options ask for; refuse contradictions."""
        name = _resolve_symmetry(self.topology, self.symmetry)
        if self.ablate_symmetry and (name != "sign" or not self.symmetrize):
            raise ValueError(
                "ablate_symmetry replaces rho(x) + rho(-x); it needs symmetry='sign'"
                f" and symmetrize=True, got {name!r} and {self.symmetrize}."
            )
        is_linear = self.messages == "linear"
        if name in ("scale", "hetero") and self.bidirectional and not is_linear:
            raise ValueError(
                "bidirectional=True is not equivariant to scales: a backward message"
                " would need the reciprocal of every weight. Use it with 'sign' or"
                " 'permutation'."
            )
        if name == "permutation":
            return None
        if name == "scale":
            return _equivariant.FeatureMap("unit", self.norm_epsilon)
        if self.ablate_symmetry:
            return _equivariant.FeatureMap("ablated")
        kind = "symmetrized" if self.symmetrize else "absolute"
        if name == "hetero":
            return _equivariant.FeatureMap(kind, self.norm_epsilon, mixed=True)
        return _equivariant.FeatureMap(kind)


def _resolve_symmetry(topology: graphs.Topology, asked: str | None) -> str:
    """Return the symmetry asked for, or that of the hidden spaces; refuse others.

    An encoder that is invariant to more than the symmetries of a network would confuse
    different functions.
    """
    found = {s.group for s in topology.spaces if s.role == "hidden"}
    if asked == "permutation" or not found:
        return asked or "permutation"
    if len(found) > 1:
        names = sorted(group.value for group in found)
        raise ValueError(
            f"Hidden spaces have the groups {names}; an encoder treats one in each"
            " network. Ask for symmetry='permutation', which holds for all. For a zoo"
            " that mixes networks of signs and of scales, give the spec of either and"
            " symmetry='hetero'."
        )
    group = found.pop()
    if asked == "hetero" and group.value in ("sign", "scale"):
        return asked
    if asked not in (None, group.value):
        raise ValueError(
            f"symmetry={asked!r} is not a symmetry of this architecture, whose hidden"
            f" spaces have the group {group.value!r}; use that or 'permutation'."
        )
    return group.value


def _switch(
    feature_map: _equivariant.FeatureMap | None, graph: jraph.GraphsTuple
) -> Array | None:
    """Return which networks `[N]` have scales, None where all have one group."""
    values: Any = graph.globals
    if feature_map is None or not feature_map.mixed:
        if values is not None:
            raise ValueError(
                "graph.globals holds a switch between signs and scales, which only an"
                " encoder with symmetry='hetero' reads. Choose that, or give"
                " graph._replace(globals=None)."
            )
        return None
    expected = (*_graph_encoder.batch_shape(graph), 1)
    if values is None or values.shape != expected:
        got = "is None" if values is None else f"has shape {values.shape}"
        raise ValueError(
            f"symmetry='hetero' needs a switch {expected} in graph.globals, 0 for"
            f" signs (tanh) and 1 for scales (relu), which {got}. Give"
            " graph._replace(globals=...), or for networks of one activation leave"
            " symmetry=None."
        )
    return values.reshape(-1) > 0.5
