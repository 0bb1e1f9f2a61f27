"""Neural Graphs: encoders of networks, invariant to permutations of hidden neurons.

Kofinas et al. 2024 (arXiv 2403.12143): random Fourier features of weights and biases,
message passing along the edges, and the features of the output neurons side by side.
They know nothing of signs and scales. `NeuralGraphs` has the layers of principal
neighbourhood aggregation that Boufalis et al. 2025 (arXiv 2511.12601) compare with,
`RelationalTransformer` attention.

Both read graphs of a topology made with `linear_as_conv=True`.
"""

import functools
from typing import Any

import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax.metanets import (
    _affine,
    _fourier_features,
    _graph_encoder,
    _inputs,
    _pna,
    _relational,
)
from symmerge_jax.typing import Array


class NeuralGraphs(_graph_encoder.GraphEncoder):
    """Encoder of weight graphs by principal neighbourhood aggregation (PNA).

    Besides the attributes of `GraphEncoder`, with `latent_size` by default
    `num_outputs * width` (published):

    Attributes:
      num_frequencies: number `K` of random frequencies; fixed, saved with the model in
        the collection "constants".
      frequency_scale: their standard deviation, > 0.
      norm: over what node features are normalised after a step: "graph" (one network),
        "node", or "batch". "batch" is what the published code does: the latent of a
        network then depends on the others in its batch; for comparisons only.
      input_moments: what raw weights and biases are standardised by, see
        `input_moments`; None to leave them as they are.
    """

    num_frequencies: int = 128
    frequency_scale: float = 3.0
    norm: str = "graph"
    input_moments: _inputs.InputMoments | None = None

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[Array, ...]:
        if self.norm not in _pna.NORMS:
            raise ValueError(f"norm must be one of {_pna.NORMS}, got {self.norm!r}.")
        x, e, _ = _embed(self, graph, self.width, _affine.init_affine)
        step = functools.partial(_pna.pna, topology=self.topology, norm=self.norm)
        init = functools.partial(_pna.init_pna, width=self.width)
        return self._run(self._alike(init, step), (x, e), deterministic)[0]


class RelationalTransformer(_graph_encoder.GraphEncoder):
    """Encoder of weight graphs by attention along their edges.

    Every neuron attends to those that it reads and those that read it; the features of
    the edge between two neurons, one per direction, enter queries, keys and values, and
    are updated in turn. The published model attends to *all* pairs of neurons, with
    zeros where there is no edge; here time and memory are linear in the edges.

    Besides the attributes of `NeuralGraphs`, without `norm`:

    Attributes:
      width: size `D` of node features, even; edges have `D / 2`, attention and the
        hidden layer of nodes `2 D` (published: 64).
      num_heads: attention heads; divides `2 * width`.
    """

    width: int = 64
    num_heads: int = 8
    num_frequencies: int = 128
    frequency_scale: float = 1.0
    input_moments: _inputs.InputMoments | None = None

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[Array, ...]:
        self._check_sizes()
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
        step = functools.partial(
            _relational.relational, topology=self.topology, num_heads=self.num_heads
        )
        init = functools.partial(_relational.init_relational, width=self.width)
        return self._run(self._alike(init, step), (x, pairs), deterministic)[0]


def _embed(module: Any, graph: jraph.GraphsTuple, edge_size: int, init_affine):
    """Return node features per space, edge features per block, and the projections."""
    nodes, edges = module._read(graph)
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
        nodes,
        edges,
    )
    return x, e, projections
