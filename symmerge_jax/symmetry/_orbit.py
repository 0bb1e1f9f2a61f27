"""Orbits of a network: random twins, and distances that ignore the symmetry."""

import jax
import jax.numpy as jnp

from symmerge_jax.symmetry import _action, _canonical, _element, _spec
from symmerge_jax.typing import Array, Key, Params


def sample_orbit(
    key: Key,
    params: Params,
    spec: _spec.SymmetrySpec,
    num_twins: int,
    *,
    permute: bool = True,
    rescale: bool = True,
    scale_std: float = 1.0,
) -> Params:
    """Return random twins of one network: other weights, the same function.

    Args:
      key: random key.
      params: parameters of one network.
      spec: symmetry of the architecture.
      num_twins: number of twins.
      permute: see `sample`.
      rescale: see `sample`.
      scale_std: see `sample`.

    Returns:
      Parameters with a leading axis `[num_twins]` on every leaf.
    """
    sizes = spec.sizes(params)

    def twin(key):
        element = _element.sample(
            key, spec, sizes, permute=permute, rescale=rescale, scale_std=scale_std
        )
        return _action.act(element, params, spec)

    return jax.vmap(twin)(jax.random.split(key, num_twins))


def distance(params_a: Params, params_b: Params) -> Array:
    """Return the Euclidean distance between two networks, weight by weight.

    Args:
      params_a: parameters of one network.
      params_b: parameters of another network of the same architecture.

    Returns:
      A scalar, in units of the weights.
    """
    difference = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params_a, params_b)
    return jnp.sqrt(sum(jax.tree.leaves(difference)))


def canonical_distance(
    params_a: Params, params_b: Params, spec: _spec.SymmetrySpec
) -> Array:
    """Return the distance between the canonical forms of two networks.

    Invariant: moving either network along its orbit does not change it. Zero on orbits
    (to rounding, where scales or phases had to be moved) and only there. It is the
    distance between two points of the orbits, hence an upper bound on the distance
    between the orbits of the two networks *in canonical scale and phase*; the true
    minimum over pairs needs an alignment.

    Args:
      params_a: parameters of one network.
      params_b: parameters of another network of the same architecture.
      spec: their symmetry.

    Returns:
      A scalar, in units of the weights.
    """
    return distance(
        _canonical.canonical_form(params_a, spec),
        _canonical.canonical_form(params_b, spec),
    )
