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

from symmerge_jax.metanets import (
    _dws_layers,
    _dws_published,
    _graph_encoder,
    _inputs,
)
from symmerge_jax.typing import Array, Params

_Values = tuple[Array, ...]


class DeepWeightSpace(_graph_encoder.GraphEncoder):
    """Encoder of weight graphs by deep weight space layers.

    Invariant to permutations of hidden neurons; knows nothing of signs and scales. Its
    number of parameters grows with that of weight tensors, and of inputs and outputs.
    Its node features are zero for input and output neurons, which nothing moves.

    With `faithful=True` and the other options at their defaults it has the layers of
    Deep-Align's code. For an MLP 784-128-128-128-10 these have 31,873,904 parameters
    (published: 31,873,905, with the scale of the similarities). The 12,789,656 of the
    last layer that make features of weights, which nothing reads, are omitted here:
    19,084,248 remain. Our own are the norm, which sees one network instead of a batch
    (see `_dws_published`), and the readout of latents.

    Besides the attributes of `GraphEncoder`, with `latent_size` by default
    `feature_size`; with `faithful`, `remat` takes one network after the other:

    Attributes:
      width: channels per tensor, times its fixed neurons (published: 64).
      feature_size: channels of the neurons after the last layer; None for `2 * width`.
      num_layers: number of layers, >= 1 (published: 5).
      pool: how axes are summed up: "mean", "max" (published) or "attention", the last
        not with `faithful`.
      max_fixed: where more neurons are fixed, as the pixels of an image, the first
        layer maps them to this number; with `faithful` only inputs are mapped, inside
        every layer (published: 8).
      faithful: whether layers are those of Deep-Align's code, with set attention and
        BatchNorm-like norms, instead of linear maps and LayerNorms.
      num_heads: attention heads with `faithful`, divides `width`; the last layer has
        one (published: 8).
      input_moments: what raw weights and biases are standardised by, see
        `input_moments`; None to leave them as they are (published).
    """

    width: int = 64
    num_layers: int = 5
    feature_size: int | None = None
    pool: str = "max"
    max_fixed: int = 8
    faithful: bool = False
    num_heads: int = 8
    input_moments: _inputs.InputMoments | None = None

    @nn.compact
    def _features(self, graph: jraph.GraphsTuple, deterministic: bool) -> _Values:
        """Return the values of every space that is written, after the last layer."""
        nodes, edges = self._read(graph)
        pools = (_dws_published if self.faithful else _dws_layers).POOLS
        if self.pool not in pools:
            raise ValueError(
                f"pool must be one of {pools} with faithful={self.faithful}, got"
                f" {self.pool!r}."
            )
        if self.faithful and self.width % self.num_heads:
            raise ValueError(
                f"width={self.width} must be a multiple of num_heads={self.num_heads}."
            )
        topology = self.topology
        tensors = _dws_layers.weight_tensors(topology)
        values = _dws_layers.split(
            topology,
            *_inputs.standardised(topology, self.input_moments, nodes, edges),
        )
        if self.faithful:
            values = tuple(
                x.reshape(*x.shape[:-1], tensor.fixed, -1)
                for x, tensor in zip(values, tensors, strict=True)
            )
        layers = self._layers(tensors, tuple(x.shape[-1] for x in values))
        (values,) = self._run(layers, (values,), deterministic)
        if self.faithful:
            values = tuple(x.reshape(*x.shape[:-2], -1) for x in values)
        return values

    @nn.nowrap
    def _latents(self, features: _Values, graph: jraph.GraphsTuple) -> Array:
        del graph
        pooled = [
            jnp.mean(x, axis=1) if x.ndim == 3 else x  # hidden neurons, output neurons
            for x in features
        ]
        size = self._feature_size()
        x = self._affine("readout_0", jnp.concatenate(pooled, axis=-1), 2 * size)
        return self._affine("readout_1", jax.nn.relu(x), self.latent_size or size)

    @nn.nowrap
    def _nodes(self, features: _Values) -> Array:
        values, size = iter(features), self._feature_size()
        nodes = []
        for space in self.topology.spaces:
            x = features[0] if space.role == "input" else next(values)
            if space.role != "hidden":
                x = jnp.zeros((len(x), space.size, size), x.dtype)
            nodes.append(x)
        return jnp.concatenate(nodes, axis=1)

    @nn.nowrap
    def _feature_size(self) -> int:
        return self.feature_size or 2 * self.width

    @nn.nowrap
    def _layers(
        self, tensors: _dws_layers.Tensors, sizes: tuple[int, ...]
    ) -> Iterator[_graph_encoder.Layer]:
        """Yield all layers, for values of these sizes; the last makes biases only."""
        for number in range(self.num_layers):
            last = number + 1 == self.num_layers
            first_target = len(self.topology.blocks) if last else 0
            targets = tuple(range(first_target, len(tensors)))
            width = self._feature_size() if last else self.width
            if self.faithful:
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
                layer = functools.partial(_dws_published.layer, options=options)
                sizes = (width,) * len(targets)
            else:
                new_sizes = {
                    t: width * min(tensors[t].fixed, self.max_fixed) for t in targets
                }
                init = functools.partial(
                    _dws_layers.init_layer,
                    tensors=tensors,
                    sizes=sizes,
                    new_sizes=new_sizes,
                    pool=self.pool,
                )
                layer = functools.partial(
                    _dws_layers.layer,
                    tensors=tensors,
                    targets=targets,
                    pool=self.pool,
                    last=last,
                )
                sizes = tuple(new_sizes.values())
            yield init, lambda params, values, layer=layer: (layer(params, values),)

    @nn.nowrap
    def _remat(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The layers of `faithful` are large: take one network after the other."""
        if not self.faithful:
            return jax.checkpoint(step)

        @jax.checkpoint
        def one(params: Params, state: Any) -> Any:
            new = step(params, *jax.tree.map(lambda x: x[None], state))
            return jax.tree.map(lambda x: x[0], new)

        return lambda params, *state: jax.lax.map(lambda x: one(params, x), state)
