"""The action of a group element on the parameters of a network."""

import jax.numpy as jnp

from symmerge_jax.symmetry import _element, _spec
from symmerge_jax.typing import Array, Params


def act(
    element: _element.GroupElement, params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Move `params` along its orbit: the function of the network does not change.

    Every axis over a space with monomial `(perm, scale)` is gathered by `perm` and
    multiplied by `scale ** power`.

    Args:
      element: one monomial per space to be moved.
      params: parameters of one network.
      spec: names the axes.

    Returns:
      The parameters of the twin.

    Raises:
      ValueError: if `params` does not fit `spec`, or `element` names an unknown space,
        has another number of neurons, or moves a space whose group is trivial.
    """
    sizes = spec.sizes(params)
    for name, monomial in element.items():
        if spec.space(name).group is _spec.Group.TRIVIAL:
            raise ValueError(
                f"Space '{name}' has the trivial group (input or output neurons) and"
                " cannot be moved."
            )
        if not monomial.perm.shape == monomial.scale.shape == (sizes[name],):
            raise ValueError(
                f"Element has perm {monomial.perm.shape} and scale"
                f" {monomial.scale.shape} for space '{name}', which has {sizes[name]}"
                " neurons in the parameters; lift batches with jax.vmap."
            )
    leaves = _spec.flatten(params)
    for path, axes in spec.axes:
        for number, axis in enumerate(axes):
            if axis is not None and axis.space in element:
                leaves[path] = _act_on_axis(
                    element[axis.space], leaves[path], number, axis
                )
    return _spec.unflatten(leaves)


def _act_on_axis(
    monomial: _element.Monomial, leaf: Array, number: int, axis: _spec.Axis
) -> Array:
    perm, scale = monomial
    if axis.repeat > 1:
        starts = len(perm) * jnp.arange(axis.repeat)
        perm = (starts[:, None] + perm[None]).ravel()
        scale = jnp.tile(scale, axis.repeat)
    leaf = jnp.take(leaf, perm, axis=number)
    if axis.power == 0:
        return leaf
    factor = scale if axis.power == 1 else 1 / scale
    shape = [1] * leaf.ndim
    shape[number] = -1
    return leaf * factor.reshape(shape).astype(leaf.dtype)
