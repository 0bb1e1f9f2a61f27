"""Features of neurons: values on learned inputs, and their effect on the outputs.

The network is run on learned inputs, the *probes*. A neuron is described by its value
on each of them, and by the derivative of a learned combination of the outputs by its
bias: activation matching (Li et al. 2015, arXiv 1511.07543) without data, in both
directions. Permuting, flipping or rescaling neurons permutes, flips or rescales these
numbers, so nothing has to be learned about symmetry; the number of parameters does not
depend on widths, and the cost is that of a few evaluations of the network.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from symmerge_jax import graphs, metanets, networks, symmetry
from symmerge_jax.typing import Array, Params


class ProbeFeatures(nn.Module):
    """Features of the hidden neurons of one kind of network, of any width.

    Attributes:
      network: the architecture; only its depth, inputs and outputs are built in.
      num_probes: number of probes `K`.
      feature_size: numbers per neuron `F`.
      width: hidden size of the map from `2 K` numbers to `F`; 0 for a linear map. With
        signs the map is always odd, and the hidden layer is a gate.
    """

    network: networks.Network
    num_probes: int = 64
    feature_size: int = 64
    width: int = 128

    def __post_init__(self):
        if min(self.num_probes, self.feature_size) < 1 or self.width < 0:
            raise ValueError(
                "num_probes and feature_size must be >= 1 and width >= 0, got"
                f" {self.num_probes}, {self.feature_size} and {self.width}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, params_batch: Params) -> dict[str, Array]:
        """Return the features of every hidden space, `[N, n, F]`.

        Equivariant: permuted with the neurons and flipped with their signs; positive
        scales change nothing.

        Args:
          params_batch: `[N]` networks.
        """
        probes = self.param(
            "probes",
            lambda key: jax.random.uniform(
                key, (self.num_probes, *self.network.input_shape), minval=-1.0
            ),
        )
        outputs = jax.eval_shape(
            jax.vmap(self.network.apply, in_axes=(0, None)), params_batch, probes
        )
        weights = self.param(
            "outputs", nn.initializers.normal(), (self.num_probes, outputs.shape[-1])
        )
        values, slopes = jax.vmap(self._probe, in_axes=(0, None, None))(
            params_batch, jnp.asarray(probes), jnp.asarray(weights)
        )
        features = {}
        for space in self.network.spec.spaces:
            if space.name in values:
                parts = [values[space.name]]
                if space.name in slopes:
                    parts.append(slopes[space.name])
                features[space.name] = self._map(space, parts)
        return features

    @nn.nowrap
    def _probe(self, params: Params, probes: Array, weights: Array):
        """Return values and slopes `{space: [n, K]}` of one network."""
        network, flat = self.network, symmetry.flatten(params)
        shapes = jax.eval_shape(network.features, params, probes)
        biases = {
            space.name: space.bias
            for space in graphs.topology(network.spec, params).spaces
            if space.name in shapes and space.bias is not None
        }

        def run(biases_now, probe, weight):
            moved = symmetry.rebuild(params, biases_now)
            found = network.features(moved, probe[None])
            output = jnp.vdot(network.apply(moved, probe[None])[0], weight)
            return output, {
                name: jnp.mean(x.reshape(-1, x.shape[-1]), axis=0)
                for name, x in found.items()
            }

        start = {path: flat[path] for path in biases.values()}
        # One pass forward and back: the values are a by-product of the derivatives.
        pull = jax.vmap(jax.grad(run, has_aux=True), in_axes=(None, 0, 0))
        gradients, values = pull(start, probes, weights)
        return (
            {name: x.T for name, x in values.items()},
            {name: gradients[path].T for name, path in biases.items()},
        )

    @nn.nowrap
    def _map(self, space: symmetry.Space, parts: Sequence[Array]) -> Array:
        signed = space.group is symmetry.Group.SIGN
        # Exact for neurons that a penalty has driven to 1e-15, too.
        units = [x * metanets.inverse_norm(x) for x in parts]
        x = jnp.concatenate(units, axis=-1)
        if not signed:
            # What all neurons have in common tells none from another.
            x = x - jnp.mean(x, axis=1, keepdims=True)

        def dense(name: str, x: Array, size: int, *, use_bias: bool = True) -> Any:
            return nn.Dense(size, use_bias=use_bias, name=f"{space.name}_{name}")(x)

        y = dense("map", x, self.feature_size, use_bias=False)
        if not self.width:
            return y
        hidden = dense("in", x, self.width, use_bias=not signed)
        hidden = jnp.abs(hidden) if signed else hidden
        hidden = nn.silu(nn.LayerNorm(name=f"{space.name}_norm")(hidden))
        z = dense("out", hidden, self.feature_size)
        return y * (1 + z) if signed else y + z
