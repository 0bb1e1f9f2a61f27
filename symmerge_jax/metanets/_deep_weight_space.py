"""Deep weight space networks (DWSNets): encoders by equivariant linear layers.

Navon et al. 2023 (arXiv 2301.12780), in the form of Deep-Align (Navon et al. 2024,
arXiv 2310.13397): smaller and simpler, or with the layers of its published code.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax import graphs
from symmerge_jax.metanets import (
    _affine,
    _dws_layers,
    _dws_published,
    _inputs,
    _options,
)
from symmerge_jax.typing import Array, Params

_Values = tuple[Array, ...]
_Layer = tuple[Callable[..., Params], Callable[[Params, _Values], _Values]]
"""Init and application of a layer."""


class DeepWeightSpace(nn.Module):
    """Encoder of weight graphs by deep weight space layers.

    Invariant to permutations of hidden neurons; knows nothing of signs and scales. Its
    number of parameters grows with that of weight tensors, and of inputs and outputs.

    With `faithful=True` and the other options at their defaults it has the layers of
    Deep-Align's code. For an MLP 784-128-128-128-10 these have 31,873,904 parameters
    (published: 31,873,905, with the scale of the similarities). The 12,789,656 of the
    last layer that make features of weights, which nothing reads, are left out here:
    19,084,248 remain. Our own are the norm, which sees one network instead of a batch
    (see `_dws_published`), and the readout of latents.

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: channels per tensor, times its fixed neurons (published: 64).
      latent_size: size of the latent; None for `feature_size`.
      feature_size: channels of the neurons after the last layer; None for `2 * width`.
      num_layers: number of layers, >= 1 (published: 5).
      pool: how axes are summed up: "mean", "max" (published) or "attention", the last
        not with `faithful`.
      max_fixed: where more neurons than these are fixed, as the pixels of an image,
        they are mapped to so many in the first layer; with `faithful` only inputs are,
        inside every layer (published: 8).
      faithful: whether layers are those of Deep-Align's code, with set attention and
        BatchNorm-like norms, instead of linear maps and LayerNorms.
      num_heads: attention heads with `faithful`, divides `width`; the last layer has
        one (published: 8).
      dropout: probability to drop a channel after every layer but the last.
      input_moments: what raw weights and biases are standardised by, see
        `input_moments`; None to leave them as they are (published).
      remat: whether the backward pass computes each layer again instead of storing it;
        with `faithful`, whose layers are large, one network after the other.
    """

    topology: graphs.Topology
    width: int = 64
    latent_size: int | None = None
    feature_size: int | None = None
    num_layers: int = 5
    pool: str = "max"
    max_fixed: int = 8
    faithful: bool = False
    num_heads: int = 8
    dropout: float = 0.0
    input_moments: _inputs.InputMoments | None = None
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
        self._check()
        nodes, edges = _options.features(self.topology, graph)
        nodes_by_space, edges_by_block = _inputs.standardised(
            self.topology,
            self.input_moments,
            nodes.reshape(-1, *nodes.shape[-2:]),
            edges.reshape(-1, *edges.shape[-2:]),
        )
        tensors = _dws_layers.weight_tensors(self.topology)
        values = _dws_layers.split(self.topology, nodes_by_space, edges_by_block)
        make_layers = self._linear_layers
        if self.faithful:
            make_layers = self._published_layers
            values = tuple(
                x.reshape(*x.shape[:-1], tensor.fixed, -1)
                for x, tensor in zip(values, tensors, strict=True)
            )
        layers = make_layers(tensors, tuple(x.shape[-1] for x in values))
        for k, (init, step) in enumerate(layers):
            params = self.param(f"layer_{k}", init)
            if self.remat:
                step = _one_by_one(step) if self.faithful else jax.checkpoint(step)
            values = step(params, values)
            if self.dropout and k + 1 < self.num_layers and not deterministic:
                key = self.make_rng("dropout")
                values = _affine.drop(key, values, self.dropout)
        if self.faithful:
            values = tuple(x.reshape(*x.shape[:-2], -1) for x in values)
        return values

    @nn.nowrap
    def _check(self) -> None:
        _options.check_sizes(self)
        if self.pool not in (pools := _pools(self.faithful)):
            raise ValueError(
                f"pool must be one of {pools} with faithful={self.faithful}, got"
                f" {self.pool!r}."
            )
        if self.faithful and self.width % self.num_heads:
            raise ValueError(
                f"width={self.width} must be a multiple of num_heads={self.num_heads}."
            )

    @nn.nowrap
    def _targets(self, tensors: _dws_layers.Tensors) -> Iterator[tuple[int, ...]]:
        """Yield what every layer makes: all tensors, the last one only biases."""
        everything = tuple(range(len(tensors)))
        for k in range(self.num_layers):
            last = k + 1 == self.num_layers
            yield everything[len(self.topology.blocks) :] if last else everything

    @nn.nowrap
    def _linear_layers(
        self, tensors: _dws_layers.Tensors, sizes: tuple[int, ...]
    ) -> Iterator[_Layer]:
        for targets in self._targets(tensors):
            last = len(targets) < len(tensors)
            width = self._feature_size() if last else self.width
            new_sizes = {
                t: width * min(tensors[t].fixed, self.max_fixed) for t in targets
            }
            init = functools.partial(
                _dws_layers.init_dws,
                tensors=tensors,
                sizes=sizes,
                new_sizes=new_sizes,
                pool=self.pool,
            )

            def step(params, values, targets=targets, last=last):
                values = _dws_layers.dws(params, tensors, targets, self.pool, values)
                return values if last else _dws_layers.activate(params, values)

            yield init, step
            sizes = tuple(new_sizes.values())

    @nn.nowrap
    def _published_layers(
        self, tensors: _dws_layers.Tensors, sizes: tuple[int, ...]
    ) -> Iterator[_Layer]:
        for targets in self._targets(tensors):
            last = len(targets) < len(tensors)
            width = self._feature_size() if last else self.width
            heads = 1 if last else self.num_heads
            options = _dws_published.Options(
                tensors, targets, self.max_fixed, heads, self.pool
            )
            init = functools.partial(
                _dws_published.init_layer,
                options=options,
                sizes=sizes,
                new_size=width,
                last=last,
            )

            def step(params, values, options=options):
                return _dws_published.layer(params, options, values)

            yield init, step
            sizes = (width,) * len(targets)


def _one_by_one(
    step: Callable[[Params, _Values], _Values],
) -> Callable[[Params, _Values], _Values]:
    """Return a layer that takes a batch network by network and stores its input."""

    @jax.checkpoint
    def one(params: Params, values: _Values) -> _Values:
        new = step(params, tuple(x[None] for x in values))
        return tuple(x[0] for x in new)

    return lambda params, values: jax.lax.map(lambda x: one(params, x), values)


def _pools(faithful: bool) -> tuple[str, ...]:
    return _dws_published.POOLS if faithful else _dws_layers.POOLS
