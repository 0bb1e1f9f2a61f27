"""Group elements: a signed or scaled permutation per space of neurons.

One convention holds in the whole project: `(g . x)[i] = scale[i] * x[perm[i]]`, that is
the matrix `diag(scale) @ eye[perm]`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Shaped

from symmerge_jax.symmetry import _axes, _spec
from symmerge_jax.typing import Array, Key


class Monomial(NamedTuple):
    """A monomial matrix `diag(scale) @ eye[perm]` acting on the neurons of one space.

    Attributes:
      perm: `[n]` integers, a permutation of `0..n-1`.
      scale: `[n]` non-zero factors: +-1 for signs, positive for ReLU scales.
    """

    perm: Array
    scale: Array


GroupElement = dict[str, Monomial]
"""One `Monomial` per space; spaces that it omits are not moved."""


def identity(sizes: Mapping[str, int], dtype=jnp.float32) -> GroupElement:
    """Return the element that moves nothing, on spaces of these sizes.

    Args:
      sizes: number of neurons per space that is to be part of the element.
      dtype: data type of the scales.
    """
    return {
        name: Monomial(jnp.arange(size), jnp.ones(size, dtype))
        for name, size in sizes.items()
    }


def compose(second: GroupElement, first: GroupElement) -> GroupElement:
    """Return the element that acts like `first` followed by `second`.

    Law: `act(compose(g, h), x) = act(g, act(h, x))`.

    Args:
      second: element applied last.
      first: element applied first; both may omit spaces.

    Raises:
      ValueError: if the elements disagree on the number of neurons of a space.
    """
    product = {**first, **second}
    for name in first.keys() & second.keys():
        g, h = second[name], first[name]
        if g.perm.shape != h.perm.shape:
            raise ValueError(
                f"Cannot compose elements with {g.perm.shape[-1]} and"
                f" {h.perm.shape[-1]} neurons for space '{name}'."
            )
        product[name] = Monomial(h.perm[g.perm], g.scale * h.scale[g.perm])
    return product


def inverse(element: GroupElement) -> GroupElement:
    """Return the inverse element: `compose(g, inverse(g))` is the identity."""
    result = {}
    for name, (perm, scale) in element.items():
        back = jnp.argsort(perm)
        result[name] = Monomial(back, 1 / scale[back])
    return result


def unit_scales(element: GroupElement, spec: _spec.SymmetrySpec) -> GroupElement:
    """Return the element with all positive scales set to one, permutations as int32.

    Args:
      element: any element; signs stay, and so does a scale that is not finite.
      spec: gives the group of every space.
    """
    return {
        name: Monomial(
            perm.astype(jnp.int32),
            jnp.where(jnp.isfinite(scale), 1, scale)
            if spec.space(name).group is _axes.Group.SCALE
            else scale,
        )
        for name, (perm, scale) in element.items()
    }


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
    for index, space in enumerate(spec.spaces):
        if space not in spec.movable_spaces:
            continue
        size = sizes[space.name]
        perm_key, scale_key = jax.random.split(jax.random.fold_in(key, index))
        perm, scale = jnp.arange(size), jnp.ones(size)
        if permute:
            perm = jax.random.permutation(perm_key, size)
        if rescale and space.group is _axes.Group.SIGN:
            scale = jax.random.rademacher(scale_key, (size,), scale.dtype)
        if rescale and space.group is _axes.Group.SCALE:
            scale = jnp.exp(scale_std * jax.random.normal(scale_key, (size,)))
        element[space.name] = Monomial(perm, scale)
    return element
