"""Two networks through one encoder of neurons, and how alike their neurons are.

Navon et al. 2024 (arXiv 2310.13397): the features of neuron `i` of one network and of
neuron `j` of the other are compared by `Q_ij = s^2 cos(f_i, f_j)` with one learned
number `s`. Both networks pass the same equivariant encoder, so `Q` is equivariant to
either and turns into its transpose when they are swapped.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import alignment, metanets, networks, symmetry
from symmerge_jax.typing import Array, Key, Params

Variables = Any
"""Parameters of the matcher: an entry "features", and "scale"."""


class Matcher(NamedTuple):
    """A learned similarity of neurons as pure functions.

    Attributes:
      network: architecture of the networks that are compared.
      signed: whether a negative similarity means that a neuron is to be flipped.
      sizes: neurons of every space whose number is built in.
      init: `init(key) -> variables`.
      similarities: `similarities(variables, params_a, params_b) -> {space: [N, n, n]}`
        for batches `[N]` of networks, rows for `a`; in [-s^2, s^2].
    """

    network: networks.Network
    signed: bool
    sizes: Mapping[str, int]
    init: Callable[[Key], Variables]
    similarities: Callable[[Variables, Params, Params], dict[str, Array]]


def matcher(
    network: networks.Network,
    encoder: metanets.NodeEncoder,
    *,
    signed: bool,
    any_width: bool = False,
) -> Matcher:
    """Return an encoder of neurons joined with the comparison.

    Unless signed, it compares what is left of features when their mean over the neurons
    is taken away: what all have in common tells none from another.

    Args:
      network: architecture of the networks.
      encoder: of their neurons.
      signed: whether features change their sign with their neuron.
      any_width: whether the encoder takes hidden layers of any width.

    Returns:
      The matcher. `build` makes it from a description, with its encoder.

    Example:
      >>> mlp = networks.mlp((2, 3, 1), "relu")
      >>> encoder = metanets.NodeEncoder(  # a neuron is known by its bias
      ...     init=lambda key: {},
      ...     features=lambda variables, params: {
      ...         "hidden_0": params["dense_0"]["bias"][..., None]
      ...     },
      ... )
      >>> signs = matcher(mlp, encoder, signed=True)
      >>> variables = signs.init(jax.random.key(0))
      >>> params = jax.tree.map(lambda x: x[None], mlp.init(jax.random.key(1)))
      >>> params["dense_0"]["bias"] = jnp.array([[1.0, -1.0, 2.0]])
      >>> signs.similarities(variables, params, params)["hidden_0"][0].round().tolist()
      [[9.0, -9.0, 9.0], [-9.0, 9.0, -9.0], [9.0, -9.0, 9.0]]
    """

    def compared(variables: Variables, params: Params) -> dict[str, Array]:
        features = encoder.features(variables["features"], params)
        if not signed:
            features = {
                name: x - jnp.mean(x, axis=1, keepdims=True)
                for name, x in features.items()
            }
        return {name: _unit(x) for name, x in features.items()}

    def init(key: Key) -> Variables:
        return {"features": encoder.init(key), "scale": jnp.float32(3.0)}

    def similarities(
        variables: Variables, params_a: Params, params_b: Params
    ) -> dict[str, Array]:
        of_a, of_b = (compared(variables, params) for params in (params_a, params_b))
        scale = variables["scale"] ** 2
        return {
            name: scale * (of_a[name] @ jnp.swapaxes(of_b[name], 1, 2)) for name in of_a
        }

    sizes = network.spec.sizes(jax.eval_shape(network.init, jax.random.key(0)))
    if any_width:
        fixed = symmetry.Group.TRIVIAL
        sizes = {s.name: sizes[s.name] for s in network.spec.spaces if s.group is fixed}
    return Matcher(network, signed, sizes, init, similarities)


def nearest_element(
    similarities: Mapping[str, Array], spec: symmetry.SymmetrySpec, *, signed: bool
) -> symmetry.GroupElement:
    """Return the group element of largest total similarity.

    Args:
      similarities: `[n, n]` per space, rows for the network that stays.
      spec: of the networks.
      signed: whether negative similarities mean flipped neurons.
    """
    return {
        name: alignment.project(x, spec.space(name).group, rescale=signed)
        for name, x in similarities.items()
    }


def _unit(x: Array) -> Array:
    """Return rows of length one, but for features that are equal up to rounding."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)
