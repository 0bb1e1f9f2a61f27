"""What all encoders of weight graphs share."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from flax import linen as nn

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params

Layer = tuple[Callable[[Key], Params], Callable[..., Any]]
"""`init(key) -> params` and `step(params, *state) -> state`."""


class GraphEncoder(nn.Module):
    """Base of the encoders of weight graphs.

    Attributes:
      topology: nodes and edges of the architecture (static).
      width: size `D` of features.
      latent_size: size of the latent; None for what the encoder chooses.
      num_layers: number of layers, >= 1.
      dropout: probability to drop a node feature after a layer, in [0, 1).
      remat: whether the backward pass computes each layer again instead of storing it.
    """

    topology: graphs.Topology
    width: int = 128
    latent_size: int | None = None
    num_layers: int = 4
    dropout: float = 0.0
    remat: bool = False

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the latents of a batch of networks.

        Args:
          graph: nodes `[*N, V, 1]`, edges `[*N, E, F]`, from `graphs.params_to_graph`.
          deterministic: False for dropout, with a key named "dropout".

        Returns:
          `[*N, latent_size]`.

        Raises:
          ValueError: if the graph does not fit the topology, or an option is invalid.
        """
        latents = self._latents(self._features(graph, deterministic), graph)
        return latents.reshape(*batch_shape(graph), -1)

    def node_features(
        self, graph: jraph.GraphsTuple, *, deterministic: bool = True
    ) -> Array:
        """Return the node features after the last layer, `[*N, V, D]`.

        Permuted with the hidden neurons. Called as
        `encoder.apply(variables, graph, method="node_features")`.
        """
        nodes = self._nodes(self._features(graph, deterministic))
        return nodes.reshape(*batch_shape(graph), *nodes.shape[1:])

    def _features(self, graph: jraph.GraphsTuple, deterministic: bool) -> Any:
        """Return the state after the last layer, by default features per space."""
        raise NotImplementedError

    @nn.nowrap
    def _latents(self, features: Any, graph: jraph.GraphsTuple) -> Array:
        """Return `[N, latent_size]`: outputs side by side, mapped where asked for."""
        del graph
        spaces = zip(self.topology.spaces, features, strict=True)
        outputs = [x for space, x in spaces if space.role == "output"]
        x = jnp.concatenate(outputs, axis=1)
        x = x.reshape(len(x), -1)
        if self.latent_size is None:
            return x
        return self._affine("readout", x, self.latent_size)

    @nn.nowrap
    def _nodes(self, features: Any) -> Array:
        """Return the features `[N, V, D]` of all neurons."""
        return jnp.concatenate(features, axis=1)

    @nn.nowrap
    def _affine(self, name: str, x: Array, size: int) -> Array:
        """Return a learned affine map of rows, `[*rows, size]`."""
        init = functools.partial(
            _affine.init_affine, size=x.shape[-1], output_size=size
        )
        return _affine.affine(self.param(name, init), x)

    @nn.nowrap
    def _alike(self, init: Callable[..., Params], step: Any) -> Iterator[Layer]:
        """Yield layers of one kind; `init(key, last=True)` is that of the last one."""
        for number in range(self.num_layers):
            yield functools.partial(init, last=number + 1 == self.num_layers), step

    @nn.nowrap
    def _run(
        self,
        layers: Iterable[Layer],
        state: tuple[Any, ...],
        deterministic: bool,
        *,
        drop_last: bool = False,
    ) -> tuple[Any, ...]:
        """Return the state after all layers; dropout acts on the first part of it."""
        for number, (init, step) in enumerate(layers):
            params = self.param(f"layer_{number}", init)
            nodes, *rest = (self._remat(step) if self.remat else step)(params, *state)
            is_last = number + 1 == self.num_layers
            if self.dropout and not deterministic and (drop_last or not is_last):
                nodes = _affine.drop(self.make_rng("dropout"), nodes, self.dropout)
            state = (nodes, *rest)
        return state

    @nn.nowrap
    def _remat(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return jax.checkpoint(step)

    @nn.nowrap
    def _read(self, graph: jraph.GraphsTuple) -> tuple[Array, Array]:
        """Return nodes `[N, V, 1]` and edges `[N, E, F]` of a graph that fits.

        Raises:
          ValueError: if it does not fit the topology, or a size is out of range.
        """
        self._check_sizes()
        arrays: Any = (graph.nodes, graph.edges)  # typed as any nest of arrays
        nodes, edges = arrays
        topology = self.topology
        expected_nodes = (topology.num_nodes, 1)
        expected_edges = (topology.num_edges, topology.num_edge_features)
        if (nodes.shape[-2:], edges.shape[-2:]) != (expected_nodes, expected_edges):
            raise ValueError(
                f"Graph has nodes {nodes.shape} and edges {edges.shape}; the topology"
                f" of the encoder asks for [*N, {expected_nodes[0]}, 1] and"
                f" [*N, {expected_edges[0]}, {expected_edges[1]}]. Was it made for"
                " another architecture?"
            )
        if nodes.shape[:-2] != edges.shape[:-2]:
            raise ValueError(
                f"Graph has batch axes {nodes.shape[:-2]} on nodes and"
                f" {edges.shape[:-2]} on edges."
            )
        return (
            nodes.reshape(-1, *expected_nodes),
            edges.reshape(-1, *expected_edges),
        )

    @nn.nowrap
    def _check_sizes(self) -> None:
        for name in ("width", "num_layers", "num_heads", "num_frequencies"):
            if getattr(self, name, 1) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if (scale := getattr(self, "frequency_scale", 1.0)) <= 0:
            raise ValueError(f"frequency_scale must be positive, got {scale}.")
        if self.latent_size is not None and self.latent_size < 1:
            raise ValueError(f"latent_size must be >= 1, got {self.latent_size}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}.")


def batch_shape(graph: jraph.GraphsTuple) -> tuple[int, ...]:
    """Return the batch axes of a graph."""
    nodes: Any = graph.nodes
    return nodes.shape[:-2]
