"""Orbits of a network: random twins, and distances that ignore the symmetry."""

import jax
import jax.numpy as jnp

from symmerge_jax.symmetry import _action, _canonical, _element, _spec, _tree
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
      num_twins: length of the new leading axis of every array.
      permute: see `sample`.
      rescale: see `sample`.
      scale_std: see `sample`.
    """
    sizes = spec.sizes(params)
    leaves = _tree.flatten(params)
    arrays = {path: x for path, x in leaves.items() if _tree.is_array(x)}
    tree = _tree.unflatten(arrays)

    def twin(key):
        element = _element.sample(
            key, spec, sizes, permute=permute, rescale=rescale, scale_std=scale_std
        )
        return _action.act(element, tree, spec)

    twins = jax.vmap(twin)(jax.random.split(key, num_twins))
    return _tree.rebuild(params, _tree.flatten(twins))


def distance(params_a: Params, params_b: Params) -> Array:
    """Return the Euclidean distance `[]` between two networks, in units of the weights.

    Args:
      params_a: parameters of one network.
      params_b: parameters of another network of the same architecture.
    """
    leaves_b = _tree.flatten(params_b)
    squares = [
        jnp.sum((jnp.asarray(leaf) - jnp.asarray(leaves_b[path])) ** 2)
        for path, leaf in _tree.flatten(params_a).items()
        if _tree.is_parameter(leaf)
    ]
    return jnp.sqrt(sum(squares, jnp.zeros(())))


def canonical_distance(
    params_a: Params, params_b: Params, spec: _spec.SymmetrySpec
) -> Array:
    """Return the distance `[]` between the canonical forms of two networks.

    Invariant: moving either network along its orbit does not change it. Zero on orbits
    (to rounding, where scales or phases had to be moved) and only there. It bounds the
    distance between the orbits *in canonical scale and phase* from above; the true
    minimum over pairs needs an alignment.

    Args:
      params_a: parameters of one network.
      params_b: parameters of another network of the same architecture.
      spec: their symmetry.
    """
    return distance(
        _canonical.canonical_form(params_a, spec),
        _canonical.canonical_form(params_b, spec),
    )
