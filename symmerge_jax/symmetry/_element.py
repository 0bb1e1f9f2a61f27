"""Group elements: a signed or scaled permutation per space of neurons.

One convention holds in the whole project: `(g . x)[i] = scale[i] * x[perm[i]]`, that is
the matrix `diag(scale) @ eye[perm]`. A space over others has one such matrix for each
of their neurons, where these come to lie: `(g . x)[a, i] = scale[a, i] *
x[perm_over[a], perm[a, i]]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from symmerge_jax import programs
from symmerge_jax.symmetry import _axes, _spec
from symmerge_jax.typing import Array, Key


class Monomial(NamedTuple):
    """A monomial matrix `diag(scale) @ eye[perm]` acting on the neurons of one space.

    Attributes:
      perm: `[n]` integers, a permutation of `0..n-1`. Behind one leading axis for each
        space that this one lies over. Of no meaning for a space that follows another:
        its neurons are permuted there.
      scale: of the same shape, non-zero factors: +-1 for signs, positive for ReLU
        scales.
    """

    perm: Array
    scale: Array


GroupElement = dict[str, Monomial]
"""One `Monomial` per space; spaces that it omits are not moved."""


def identity(
    sizes: Mapping[str, int | tuple[int, ...]],
    dtype: Any = jnp.float32,
    numbers: Any = jnp,
) -> GroupElement:
    """Return the element that moves nothing, on spaces of these sizes.

    Args:
      sizes: number of neurons per space that is to be part of the element; shapes, as
        `element_shapes` returns them, where spaces lie over others.
      dtype: data type of the scales.
      numbers: `jax.numpy`, or `numpy` for its arrays, with permutations in int32.
    """
    element = {}
    for name, size in sizes.items():
        shape = (size,) if isinstance(size, int) else tuple(size)
        perm = numbers.arange(shape[-1], dtype=np.int32 if numbers is np else None)
        perm = numbers.broadcast_to(perm, shape) if len(shape) > 1 else perm
        element[name] = Monomial(perm, numbers.ones(shape, dtype))
    return element


def element_shapes(
    spec: _spec.SymmetrySpec, sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of the monomials of every movable space.

    Args:
      spec: says which spaces lie over which.
      sizes: number of neurons per space, as `spec.sizes(params)` returns.
    """
    return {
        space.name: (*(sizes[name] for name in space.over), sizes[space.name])
        for space in spec.movable_spaces
    }


def compose(
    second: GroupElement,
    first: GroupElement,
    spec: _spec.SymmetrySpec | None = None,
) -> GroupElement:
    """Return the element that acts like `first` followed by `second`.

    Law: `act(compose(g, h), x) = act(g, act(h, x))`.

    Args:
      second: element applied last.
      first: element applied first; both may omit spaces.
      spec: needed where spaces lie over others or follow them.

    Raises:
      ValueError: if the elements disagree on the number of neurons of a space.
    """
    for name in first.keys() & second.keys():
        if first[name].perm.shape != second[name].perm.shape:
            raise ValueError(
                f"Cannot compose elements with {second[name].perm.shape[-1]} and"
                f" {first[name].perm.shape[-1]} neurons for space '{name}'."
            )
    product = {**first, **second}
    for name, h in first.items():
        space = None if spec is None else spec.space(name)
        h = carry(name, h, second, spec)
        if name in second:
            g = second[name]
            follows = space is not None and space.follows is not None
            perm = h.perm if follows else _take(h.perm, g.perm)
            scale = h.scale if follows else _take(h.scale, g.perm)
            product[name] = Monomial(perm, g.scale * scale)
        else:
            product[name] = h
    return product


def inverse(
    element: GroupElement, spec: _spec.SymmetrySpec | None = None
) -> GroupElement:
    """Return the inverse element: `compose(g, inverse(g))` is the identity.

    Args:
      element: any element.
      spec: needed where spaces lie over others or follow them.
    """
    result = {}
    order = spec.spaces if spec is not None else ()
    names = [s.name for s in order if s.name in element] or list(element)
    for name in names:  # a space over others comes behind these
        perm, scale = element[name]
        space = None if spec is None else spec.space(name)
        if space is None or space.follows is None:
            back = programs.namespace(perm).argsort(perm)
            monomial = Monomial(back, 1 / _take(scale, back))
        else:
            monomial = Monomial(perm, 1 / scale)
        result[name] = carry(name, monomial, result, spec)
    return result


def carry(
    name: str,
    monomial: Monomial,
    element: GroupElement,
    spec: _spec.SymmetrySpec | None,
) -> Monomial:
    """Return what the monomial of a space becomes where other spaces are permuted.

    Those are the spaces that it lies over, and the one that it follows.

    Args:
      name: name of the space.
      monomial: of the space.
      element: permutes the others.
      spec: None if no space lies over another or follows one.
    """
    space = None if spec is None else spec.space(name)
    if spec is None or space is None or not (space.over or space.follows):
        return monomial
    names = [*space.over, space.follows or name]
    perm, scale = monomial
    numbers = programs.namespace(monomial, element)
    for number, other in enumerate(names):
        if other in element and other != name:
            places = [*spec.space(other).over, other]
            index = spread_over(element[other].perm, places, names, perm.ndim)
            scale = numbers.take_along_axis(scale, index, number)
            if other != space.follows:
                perm = numbers.take_along_axis(perm, index, number)
    return Monomial(perm, scale)


def spread_over(
    values: Array,
    names: Sequence[str],
    places: Sequence[str | None],
    rank: int,
    at: int | None = None,
) -> Array:
    """Return values of some spaces, shaped to be combined with an array of more.

    Args:
      values: one axis per name.
      names: the spaces of the axes of `values`.
      places: the space of each axis of the array, at least one for each name.
      rank: number of axes of the array.
      at: the axis of the last name, where the array has several of this space.
    """
    order = [list(places).index(name) for name in names]
    if at is not None:
        order[-1] = at
    shape = [1] * rank
    for number, size in zip(order, values.shape, strict=True):
        shape[number] = size
    return values.transpose(np.argsort(order)).reshape(shape)


def _take(values: Array, perm: Array) -> Array:
    if perm.ndim == 1:
        return values[perm]
    numbers = programs.namespace(values, perm)
    return numbers.take_along_axis(values, perm, axis=-1)


def unit_scales(element: GroupElement, spec: _spec.SymmetrySpec) -> GroupElement:
    """Return the element with all positive scales set to one, permutations as int32.

    Args:
      element: any element; signs stay, and so does a scale that is not finite.
      spec: gives the group of every space.
    """
    return {
        name: Monomial(
            perm.astype(np.int32),
            _finite_ones(scale)
            if spec.space(name).group is _axes.Group.SCALE
            else scale,
        )
        for name, (perm, scale) in element.items()
    }


def _finite_ones(scale: Array) -> Array:
    numbers = programs.namespace(scale)
    return numbers.where(numbers.isfinite(scale), 1, scale).astype(scale.dtype)


def as_matrix(monomial: Monomial) -> Shaped[Array, "n n"]:
    """Return the matrix `[n, n]` of a monomial, `diag(scale) @ eye[perm]`."""
    return (
        monomial.scale[:, None]
        * jnp.eye(len(monomial.perm), dtype=monomial.scale.dtype)[monomial.perm]
    )


def sample(
    key: Key,
    spec: _spec.SymmetrySpec,
    sizes: Mapping[str, int],
    *,
    permute: bool = True,
    rescale: bool = True,
    scale_std: float = 1.0,
) -> GroupElement:
    """Return a random element: uniform permutations and signs, log-normal scales.

    The published orbits are `permute` only (P), `rescale` only (D) and both (PD).

    Args:
      key: random key.
      spec: gives the group of every space; trivial ones are not moved.
      sizes: number of neurons per space, as `spec.sizes(params)` returns.
      permute: permute the neurons.
      rescale: draw the signs of `Group.SIGN` and the scales of `Group.SCALE` spaces.
      scale_std: standard deviation of the logarithm of positive scales.
    """
    element = {}
    shapes = element_shapes(spec, sizes)
    for index, space in enumerate(spec.spaces):
        if space.name not in shapes:
            continue
        *over, size = shape = shapes[space.name]
        perm_key, scale_key = jax.random.split(jax.random.fold_in(key, index))
        perm, scale = jnp.arange(size), jnp.ones(shape)
        if over:
            perm = jnp.broadcast_to(perm, shape)
        if permute and space.is_permuted:
            perm = jax.random.permutation(perm_key, perm, axis=-1, independent=True)
        if rescale and space.group is _axes.Group.SIGN:
            scale = jax.random.rademacher(scale_key, shape, scale.dtype)
        if rescale and space.group is _axes.Group.SCALE:
            scale = jnp.exp(scale_std * jax.random.normal(scale_key, shape))
        element[space.name] = Monomial(perm, scale)
    return element
