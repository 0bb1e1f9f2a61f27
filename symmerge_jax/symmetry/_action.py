"""The action of a group element on the parameters of a network."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs
from symmerge_jax.symmetry import _atoms, _axes, _element, _spec, _tree
from symmerge_jax.typing import Array, Params, Path

_Atomic = tuple[_axes.Axis | None, ...]


def act(
    element: _element.GroupElement, params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return the twin that an element moves `params` to: the function does not change.

    Every axis over a space with monomial `(perm, scale)` is gathered by `perm` and
    multiplied by `scale ** power`, and by the scales of spaces that follow it.

    Args:
      element: one monomial per space to be moved.
      params: parameters of one network.
      spec: names the axes.

    Raises:
      ValueError: if `params` does not fit `spec`, or `element` names an unknown space,
        has another number of neurons, or moves a space whose group is trivial; or if
        integers would have to be scaled.
    """
    view = _atoms.atoms_of(spec, params)
    if view.spec is not spec:
        return view.undo(act(element, view.view(params), view.spec), params)
    shapes = _element.element_shapes(spec, sizes := spec.sizes(params))
    for name, monomial in element.items():
        _check_movable(spec, name)
        if not monomial.perm.shape == monomial.scale.shape == shapes[name]:
            neurons = sizes[name] if len(shapes[name]) == 1 else shapes[name]
            raise ValueError(
                f"Element has perm {monomial.perm.shape} and scale"
                f" {monomial.scale.shape} for space '{name}', which has {neurons}"
                " neurons in the parameters; lift batches with jax.vmap."
            )
    leaves = _tree.flatten(params)
    numbers = programs.namespace(element, params)
    for path, axes in spec.atomic_axes:
        names = {n for a in axes if a for n in (a.space, *dict(a.also))}
        if names & element.keys() and _tree.is_parameter(leaves[path]):
            leaves[path] = numbers.asarray(leaves[path])
        leaves[path] = act_on_atom(element, path, leaves[path], spec)
    return _tree.rebuild(params, leaves)


def act_on_atom(
    element: _element.GroupElement, path: Path, leaf: Array, spec: _spec.SymmetrySpec
) -> Array:
    """Return what `act` makes of one atom, without its checks.

    With numpy where leaf and element are arrays of numpy: what has no monomial, or the
    identity, is not copied.

    Args:
      element: monomials of these spaces, at least.
      path: of the atom.
      leaf: the atom.
      spec: of it, and others.
    """
    axes = dict(spec.atomic_axes)[path]
    for at in _outer_first(axes, spec):
        leaf = _act_on_axis(element, path, leaf, axes, at, spec)
    return leaf


def act_each(
    elements: _element.GroupElement, params_batch: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return a batch of networks, each moved by an element of its own.

    Args:
      elements: monomials with a leading axis `[N]`.
      params_batch: networks with the same leading axis.
      spec: names the axes.
    """
    return programs.each(
        lambda element, params: act(element, params, spec), elements, params_batch
    )


def rescale(
    scales: Mapping[str, Array], params: Params, spec: _spec.SymmetrySpec
) -> Params:
    """Return what `act` does with these scales and no permutation, without its checks.

    Args:
      scales: `[*over, n]` per space to be scaled.
      params: floating-point atoms of one network.
      spec: names their axes.
    """
    leaves = _tree.flatten(params)
    for path, axes in spec.atomic_axes:
        for number, axis in enumerate(axes):
            if axis is None:
                continue
            powers = {n: axis.exponent(n) for n in scales if axis.exponent(n)}
            leaves[path] = _scale_axis(
                scales, powers, leaves[path], axes, (number, axis), spec
            )
    return _tree.rebuild(params, leaves)


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
    view = _atoms.atoms_of(spec, params)
    if view.spec is not spec:
        return view.undo(act_dense(matrices, view.view(params), view.spec), params)
    sizes = spec.sizes(params)
    for name, matrix in matrices.items():
        _check_movable(spec, name)
        if (space := spec.space(name)).over or space.follows:
            raise ValueError(
                f"Space '{name}' lies over {list(space.over)}"
                if space.over
                else f"Space '{name}' follows '{space.follows}'"
                ", and has no relaxed elements."
            )
        if matrix.shape != (sizes[name], sizes[name]):
            raise ValueError(
                f"Matrix of shape {matrix.shape} for space '{name}', which has"
                f" {sizes[name]} neurons in the parameters."
            )
    leaves = _tree.flatten(params)
    for path, axes in spec.atomic_axes:
        for number, axis in enumerate(axes):
            if isinstance(axis, _axes.Axis) and axis.space in matrices:
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
    view = _atoms.atoms_of(spec, params)
    atoms = view.view(params, num_batch_axes)
    leaves = _tree.flatten(atoms)
    moved = {}
    for path, axes in view.spec.atomic_axes:
        if not any(axes) or _tree.is_parameter(leaves[path]):
            continue
        moved[path] = leaves[path]
        for number, axis in _outer_first(axes, spec):
            if axis.space in element:
                moved[path] = _permute(
                    element, moved[path], axes, (number, axis), spec, num_batch_axes
                )
    return view.undo(_tree.rebuild(atoms, moved), params, num_batch_axes)


def _outer_first(
    axes: _Atomic, spec: _spec.SymmetrySpec
) -> list[tuple[int, _axes.Axis]]:
    """Return numbers and axes of an atom; a space comes behind those it is over.

    There the permutations of the neurons stand where these come to lie.
    """
    found = [(i, axis) for i, axis in enumerate(axes) if axis is not None]
    return sorted(found, key=lambda item: len(spec.space(item[1].space).over))


def _places(axes: _Atomic) -> list[str | None]:
    return [None if axis is None else axis.space for axis in axes]


def _permute(
    element: _element.GroupElement,
    leaf: Array,
    axes: _Atomic,
    at: tuple[int, _axes.Axis],
    spec: _spec.SymmetrySpec,
    num_batch_axes: int = 0,
) -> Array:
    """Return an array permuted along an axis, by one permutation or one per entry."""
    number, axis = at
    perm = element[axis.space].perm
    numbers = jnp if _tree.is_traced(leaf, perm) else np
    perm = numbers.asarray(perm)
    if axis.repeat > 1:
        starts = np.arange(axis.repeat, dtype=perm.dtype) * perm.shape[-1]
        index = starts[:, None] + perm[..., None, :]
        perm = index.reshape(*perm.shape[:-1], -1)
    batch = [f"batch {i}" for i in range(num_batch_axes)]
    names = [*batch, *spec.space(axis.space).over, axis.space]
    places = [*batch, *_places(axes)]
    index: Any = _element.spread_over(
        perm, names, places, leaf.ndim, at=num_batch_axes + number
    )
    return numbers.take_along_axis(leaf, index, num_batch_axes + number)


def _act_on_axis(
    element: _element.GroupElement,
    path: Path,
    leaf: Array,
    axes: _Atomic,
    at: tuple[int, _axes.Axis],
    spec: _spec.SymmetrySpec,
) -> Array:
    """Return an atom permuted and scaled along one of its axes."""
    number, axis = at
    is_parameter = _tree.is_parameter(leaf)
    powers = {
        name: power
        for name, power in ((axis.space, axis.power), *axis.also)
        if name in element and power
    }
    if not is_parameter and spec.space(axis.space).group is _axes.Group.PERMUTATION:
        powers.pop(axis.space, None)
    if powers and not is_parameter:
        raise ValueError(
            f"Parameter '{_tree.name(path)}' of type {leaf.dtype} cannot be scaled"
            f" with space '{axis.space}': integers are only permuted (power 0)."
        )
    if axis.space in element:
        perm = element[axis.space].perm
        numbers = programs.namespace(leaf, perm)
        if numbers is np and (perm == np.arange(perm.shape[-1])).all():
            pass
        elif perm.ndim > 1 or (not is_parameter and not _tree.is_traced(perm)):
            leaf = _permute(element, leaf, axes, at, spec)
        else:
            if axis.repeat > 1:
                starts = len(perm) * np.arange(axis.repeat, dtype=perm.dtype)
                perm = (starts[:, None] + perm[None]).ravel()
            leaf = numbers.take(leaf, perm, axis=number)
    scales = {name: element[name].scale for name in powers}
    return _scale_axis(scales, powers, leaf, axes, at, spec)


def _scale_axis(
    scales: Mapping[str, Array],
    powers: Mapping[str, int | Fraction],
    leaf: Array,
    axes: _Atomic,
    at: tuple[int, _axes.Axis],
    spec: _spec.SymmetrySpec,
) -> Array:
    """Return an atom multiplied along one of its axes by powers of scales."""
    number, axis = at
    for name, power in powers.items():
        # Below float32 only the product is rounded, not the factor before it.
        dtype = _tree.computing_dtype(leaf)
        numbers: Any = jnp
        if isinstance(leaf, np.ndarray):
            numbers, dtype = np, np.promote_types(leaf.dtype, np.float32)
            if (scales[name] == 1).all():
                continue
        scale = _power(scales[name].astype(dtype), power)
        scale = numbers.tile(scale, axis.repeat) if axis.repeat > 1 else scale
        names = [*spec.space(name).over, axis.space]
        scale = _element.spread_over(scale, names, _places(axes), leaf.ndim, at=number)
        wide = leaf.astype(dtype, copy=False)
        leaf = (wide * scale).astype(leaf.dtype, copy=False)
    return leaf


def _power(scale: Array, power: int | Fraction) -> Array:
    if power in (1, -1):
        return scale if power == 1 else 1 / scale
    # Signs have whole exponents modulo two only; roots are those of positive numbers.
    return scale**power if isinstance(power, int) else scale ** float(power)
