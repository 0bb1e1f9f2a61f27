"""The action of a group element on the parameters of a network."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax.symmetry import _axes, _element, _spec, _tree
from symmerge_jax.typing import Array, Params


def act(
    element: _element.GroupElement, params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return the twin that an element moves `params` to: the function does not change.

    Every axis over a space with monomial `(perm, scale)` is gathered by `perm` and
    multiplied by `scale ** power`.

    Args:
      element: one monomial per space to be moved.
      params: parameters of one network.
      spec: names the axes.

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


def act_each(
    elements: _element.GroupElement, params_batch: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return a batch of networks, each moved by an element of its own.

    Args:
      elements: monomials with a leading axis `[N]`.
      params_batch: networks with the same leading axis.
      spec: names the axes.
    """
    return jax.vmap(lambda element, params: act(element, params, spec))(
        elements, params_batch
    )


def act_dense(
    matrices: Mapping[str, Array], params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return what relaxed elements, any matrices, make of a network.

    Axes that are written or read (power `+1`, `-1`) are multiplied by the matrix,
    axes of power `0` by its absolute values. For permutations and signs, which are
    orthogonal, this extends `act`: it does with `as_matrix(g[s])` what `act` does with
    `g[s]`. Linear in each matrix, with gradients. Positive scales are not orthogonal
    and must be balanced beforehand (`balance_scales`).

    Args:
      matrices: `[n, n]` per space to be moved, for example doubly stochastic ones.
      params: parameters of one network.
      spec: names the axes.

    Raises:
      ValueError: as `act`.
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


def move_carried(
    element: _element.GroupElement,
    params: Params,
    spec: _spec.SymmetrySpec,
    num_batch_axes: int = 0,
) -> Params:
    """Return a network, or a batch, in which only what is no parameter has moved.

    Outside of JAX where values are known: it would cut integers to 32 bits.

    Args:
      element: monomials with as many leading axes.
      params: arrays; integers and the like are permuted with their neurons.
      spec: names the axes.
      num_batch_axes: number of leading axes.
    """
    leaves = _tree.flatten(params)
    moved = {}
    for path, axes in spec.axes:
        if not any(axes) or _tree.is_parameter(leaves[path]):
            continue
        moved[path] = leaves[path]
        for number, axis in enumerate(axes, num_batch_axes):
            if axis is not None and axis.space in element:
                perm = element[axis.space].perm
                moved[path] = _permute(moved[path], perm, number, axis.repeat)
    return _tree.rebuild(params, moved)


def _permute(leaf: Array, perm: Array, number: int, repeat: int) -> Array:
    """Return integers permuted along an axis, by one permutation or one per row."""
    numbers = jnp if _tree.is_traced(leaf, perm) else np
    perm = numbers.asarray(perm)
    starts = np.arange(repeat, dtype=perm.dtype) * perm.shape[-1]
    index = starts.reshape(*[1] * (perm.ndim - 1), -1, 1) + perm[..., None, :]
    shape = [1] * leaf.ndim
    shape[: perm.ndim - 1] = perm.shape[:-1]
    shape[number] = -1
    return numbers.take_along_axis(leaf, index.reshape(shape), number)


def _act_on_axis(
    monomial: _element.Monomial,
    leaf: Array,
    number: int,
    axis: _axes.Axis,
    scaled: bool,
) -> Array:
    perm, scale = monomial
    if not _tree.is_parameter(leaf) and not _tree.is_traced(perm):
        return _permute(leaf, perm, number, axis.repeat)
    if axis.repeat > 1:
        starts = len(perm) * np.arange(axis.repeat, dtype=perm.dtype)
        perm = (starts[:, None] + perm[None]).ravel()
        scale = jnp.tile(scale, axis.repeat)
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
