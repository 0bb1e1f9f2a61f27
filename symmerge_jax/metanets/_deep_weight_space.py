"""Deep weight space networks (DWSNets): encoders by equivariant linear layers.

Navon et al. 2023 (arXiv 2301.12780), in the form of Deep-Align (Navon et al. 2024,
arXiv 2310.13397).
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
    _dropout,
    _dws,
    _fourier_features,
    _options,
    _weight_tensors,
)
from symmerge_jax.typing import Array


class DeepWeightSpace(nn.Module):
    """Encoder of weight graphs by deep weight space layers.

    Invariant to permutations of hidden neurons; knows nothing of signs and scales. Its
    number of parameters grows with that of weight tensors, and of inputs and outputs.

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: channels per tensor, times its fixed neurons (published: 64).
      latent_size: size of the latent; None for `feature_size`.
      feature_size: channels of the neurons after the last layer; None for `2 * width`.
      num_layers: number of layers, >= 1 (published: 5).
      pool: how axes are summed up: "mean", "max" (published) or "attention".
      max_fixed: where more neurons than these are fixed, as the pixels of an image,
        they are mapped to so many in the first layer.
      dropout: probability to drop a channel after every layer but the last.
      input_moments: what raw weights and biases are standardised by, see
        `input_moments`; None to leave them as they are.
      remat: whether the backward pass computes each layer again instead of storing it.
    """

    topology: graphs.Topology
    width: int = 64
    latent_size: int | None = None
    feature_size: int | None = None
    num_layers: int = 5
    pool: str = "max"
    max_fixed: int = 8
    dropout: float = 0.0
    input_moments: _fourier_features.InputMoments | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the latents `[*N, latent_size]` of a batch of networks.

        Args:
          graph: nodes `[*N, V, 1]`, edges `[*N, E, F]`, from `graphs.params_to_graph`.
          deterministic: False to drop channels, with a key named "dropout".

        Raises:
          ValueError: if the graph does not fit the topology, or an option is unknown.
        """
        values = self._features(graph, deterministic)
        pooled = [
            jnp.mean(x, axis=1) if x.ndim == 3 else x  # hidden neurons, output neurons
            for x in values
        ]
        x = jnp.concatenate(pooled, axis=-1)
        size = self._feature_size()
        hidden = self.param(
            "readout_0",
            functools.partial(
                _affine.init_affine, size=x.shape[-1], output_size=2 * size
            ),
        )
        out = self.param(
            "readout_1",
            functools.partial(
                _affine.init_affine, size=2 * size, output_size=self.latent_size or size
            ),
        )
        x = _affine.affine(out, jax.nn.relu(_affine.affine(hidden, x)))
        raw: Any = graph.nodes
        return x.reshape(*raw.shape[:-2], -1)

    def node_features(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return features of all neurons, `[*N, V, feature_size]`.

        Permuted with the hidden neurons; zeros for input and output neurons, which
        nothing moves. Called as `encoder.apply(variables, graph,
        method="node_features")`.
        """
        values = iter(self._features(graph, deterministic))
        raw: Any = graph.nodes
        batch, size = raw.shape[:-2], self._feature_size()
        features = []
        for space in self.topology.spaces:
            x = None if space.role == "input" else next(values)
            if space.role != "hidden":
                x = jnp.zeros((raw[..., 0, 0].size, space.size, size), raw.dtype)
            features.append(x)
        nodes = jnp.concatenate(features, axis=1)
        return nodes.reshape(*batch, *nodes.shape[1:])

    @nn.nowrap
    def _feature_size(self) -> int:
        return self.feature_size or 2 * self.width

    @nn.compact
    def _features(
        self, graph: jraph.GraphsTuple, deterministic: bool
    ) -> tuple[Array, ...]:
        """Return the values of every space that is written, after the last layer."""
        _options.check_sizes(self)
        if self.pool not in _dws.POOLS:
            raise ValueError(f"pool must be one of {_dws.POOLS}, got {self.pool!r}.")
        nodes, edges = _options.features(self.topology, graph)
        nodes_by_space, edges_by_block = _fourier_features.standardised(
            self.topology,
            self.input_moments,
            nodes.reshape(-1, *nodes.shape[-2:]),
            edges.reshape(-1, *edges.shape[-2:]),
        )
        tensors = _weight_tensors.weight_tensors(self.topology)
        values = _weight_tensors.split(self.topology, nodes_by_space, edges_by_block)
        sizes = [x.shape[-1] for x in values]
        for k in range(self.num_layers):
            last = k + 1 == self.num_layers
            targets = tuple(
                range(len(self.topology.blocks) if last else 0, len(values))
            )
            width = self._feature_size() if last else self.width
            new_sizes = {
                t: width * min(tensors[t].fixed, self.max_fixed) for t in targets
            }
            params = self.param(
                f"layer_{k}",
                functools.partial(
                    _dws.init_dws,
                    tensors=tensors,
                    sizes=tuple(sizes),
                    new_sizes=new_sizes,
                    pool=self.pool,
                ),
            )
            step = _dws.dws
            if self.remat:
                step = jax.checkpoint(step, static_argnums=(1, 2, 3))
            values = step(params, tensors, targets, self.pool, values)
            if not last:
                values = _dws.activate(params, values)
                if self.dropout and not deterministic:
                    key = self.make_rng("dropout")
                    values = _dropout.drop(key, values, self.dropout)
                sizes = [new_sizes[t] for t in targets]
        return values
