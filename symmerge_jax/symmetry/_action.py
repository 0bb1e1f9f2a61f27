"""The action of a group element on the parameters of a network."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from symmerge_jax.symmetry import _axes, _element, _spec, _tree
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
        has another number of neurons, or moves a space whose group is trivial; or if
        integers would have to be scaled.
    """
    sizes = spec.sizes(params)
    for name, monomial in element.items():
        _check_movable(spec, name)
        if not monomial.perm.shape == monomial.scale.shape == (sizes[name],):
            raise ValueError(
                f"Element has perm {monomial.perm.shape} and scale"
                f" {monomial.scale.shape} for space '{name}', which has {sizes[name]}"
                " neurons in the parameters; lift batches with jax.vmap."
            )
    leaves = _tree.flatten(params)
    for path, axes in spec.axes:
        for number, axis in enumerate(axes):
            if axis is not None and axis.space in element:
                scaled = axis.power and _tree.is_parameter(leaves[path])
                permuted = spec.space(axis.space).group is _axes.Group.PERMUTATION
                if axis.power and not scaled and not permuted:
                    raise ValueError(
                        f"Parameter '{_tree.name(path)}' of type {leaves[path].dtype}"
                        f" cannot be scaled with space '{axis.space}': integers are"
                        " only permuted (power 0)."
                    )
                leaves[path] = _act_on_axis(
                    element[axis.space], leaves[path], number, axis, bool(scaled)
                )
    return _tree.rebuild(params, leaves)


def act_dense(
    matrices: Mapping[str, Array], params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Apply relaxed group elements: any matrix in the place of a monomial one.

    Axes that are written or read (power `+1`, `-1`) are multiplied by the matrix,
    axes of power `0` by its absolute values. For permutations and signs, which are
    orthogonal, this extends `act`: it does with `as_matrix(g[s])` what `act` does with
    `g[s]`. Linear in each matrix, with gradients. Positive scales are not orthogonal
    and must be balanced away before (`balance_scales`).

    Args:
      matrices: `[n, n]` per space to be moved, for example doubly stochastic ones.
      params: parameters of one network.
      spec: names the axes.

    Returns:
      Parameters, in general of another function.

    Raises:
      ValueError: if `params` does not fit `spec`, or a matrix belongs to an unknown
        space, one whose group is trivial, or one with another number of neurons.
    """
    sizes = spec.sizes(params)
    for name, matrix in matrices.items():
        _check_movable(spec, name)
        if matrix.shape != (sizes[name], sizes[name]):
            raise ValueError(
                f"Matrix of shape {matrix.shape} for space '{name}', which has"
                f" {sizes[name]} neurons in the parameters."
            )
    leaves = _tree.flatten(params)
    for path, axes in spec.axes:
        for number, axis in enumerate(axes):
            if axis is not None and axis.space in matrices:
                matrix = matrices[axis.space]
                if axis.power == 0:
                    matrix = jnp.abs(matrix)
                leaf = jnp.moveaxis(leaves[path], number, 0)
                blocks = leaf.reshape(axis.repeat, len(matrix), -1)
                moved = jnp.einsum("ij,rjm->rim", matrix, blocks)
                leaves[path] = jnp.moveaxis(moved.reshape(leaf.shape), 0, number)
    return _tree.rebuild(params, leaves)


def _check_movable(spec: _spec.SymmetrySpec, name: str) -> None:
    if spec.space(name).group is _axes.Group.TRIVIAL:
        raise ValueError(
            f"Space '{name}' has the trivial group (input or output neurons) and"
            " cannot be moved."
        )


def _act_on_axis(
    monomial: _element.Monomial,
    leaf: Array,
    number: int,
    axis: _axes.Axis,
    scaled: bool,
) -> Array:
    perm, scale = monomial
    if axis.repeat > 1:
        starts = len(perm) * np.arange(axis.repeat, dtype=perm.dtype)
        perm = (starts[:, None] + perm[None]).ravel()
        scale = jnp.tile(scale, axis.repeat)
    if not _tree.is_parameter(leaf) and not isinstance(perm, core.Tracer):
        # Outside of JAX, which would cut them to 32 bits; traced ones are cut already.
        take = jnp.take if isinstance(leaf, jax.Array) else np.take
        return take(leaf, np.asarray(perm), axis=number)
    leaf = jnp.take(leaf, perm, axis=number)
    if not scaled:
        return leaf
    # Below float32 only the product is rounded, not the factor before it.
    dtype = _tree.computing_dtype(leaf)
    scale = scale.astype(dtype)
    factor = scale if axis.power == 1 else 1 / scale
    shape = [1] * leaf.ndim
    shape[number] = -1
    return (leaf.astype(dtype) * factor.reshape(shape)).astype(leaf.dtype)
