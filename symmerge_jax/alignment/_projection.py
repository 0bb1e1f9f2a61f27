"""The group element that fits a similarity best."""

import jax.numpy as jnp
from jaxtyping import Float

from symmerge_jax import assignment, symmetry
from symmerge_jax.typing import Array


def project(
    similarity: Float[Array, "*N n n"],
    group: symmetry.Group,
    *,
    unsigned: Float[Array, "*N n n"] | None = None,
    permute: bool = True,
    rescale: bool = True,
    where: Array | bool = True,
) -> symmetry.Monomial:
    """Return the monomial that fits a similarity best.

    Maximises `sum_i scale[i] * similarity[i, perm[i]] + unsigned[i, perm[i]]`. Signs
    are exact together with the permutation: each entry that is chosen counts with its
    better sign, hence with its absolute value (Boufalis et al. 2025, arXiv 2511.12601,
    Proposition 1). The published restrictions are P (`rescale=False`), D
    (`permute=False`) and PD. The scales of a `Group.SCALE` space are one: positive
    scales are balanced before networks are compared.

    Args:
      similarity: `[*N, n, n]`, rows for the network that stays; leading axes are those
        of a space over others.
      group: group of the space.
      unsigned: `[*N, n, n]` similarity of what is permuted but keeps its sign, such as
        weights in front of a BatchNorm; None for nothing.
      permute: allow permutations, for every group.
      rescale: allow the sign flips of `Group.SIGN`; the sign of zero is `+1`.
      where: `[]` boolean; where False the result is of no interest, and the assignment
        problem is not solved.

    Returns:
      Monomial of shape `[*N, n]`; traced, where the similarity is not finite, one with
      the permutation -1 and NaN scales.

    Raises:
      ValueError: for a trivial group.
    """
    if group is symmetry.Group.TRIVIAL:
        raise ValueError("A space with the trivial group cannot be moved.")
    signed = rescale and group is symmetry.Group.SIGN
    shape = similarity.shape[:-1]
    if permute:
        gains = jnp.abs(similarity) if signed else similarity
        gains = gains if unsigned is None else gains + unsigned
        where = jnp.broadcast_to(jnp.asarray(where), shape[:-1])
        perm = assignment.solve_lap(gains, maximize=True, where=where)
    else:
        perm = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
    scale = jnp.ones(shape, similarity.dtype)
    if permute:  # costs that are not finite have no permutation
        scale = jnp.where(perm < 0, jnp.nan, scale)
    if signed:
        scale = jnp.where(_chosen(similarity, perm) < 0, -scale, scale)
    return symmetry.Monomial(perm, scale)


def gain(
    similarity: Float[Array, "*N n n"],
    monomial: symmetry.Monomial,
    unsigned: Float[Array, "*N n n"] | None = None,
) -> Float[Array, "*N"]:
    """Return what `project` maximises, `[*N]`, for a monomial."""
    perm, scale = monomial
    signed = jnp.sum(scale * _chosen(similarity, perm), -1)
    return signed if unsigned is None else signed + jnp.sum(_chosen(unsigned, perm), -1)


def _chosen(similarity: Array, perm: Array) -> Array:
    return jnp.take_along_axis(similarity, perm[..., None], axis=-1)[..., 0]
