"""The group element that fits a similarity best, and its relaxation to a matrix.

A relaxed one lies in the convex hull of the group: that of the permutations is the set
of doubly stochastic matrices, that of the signed permutations the set of matrices whose
absolute values are dominated by one.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from symmerge_jax import assignment, programs, symmetry
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
    shape, numbers = similarity.shape[:-1], programs.namespace(similarity, unsigned)
    if permute:
        gains = abs(similarity) if signed else similarity
        gains = gains if unsigned is None else gains + unsigned
        due = numbers.broadcast_to(numbers.asarray(where), shape[:-1])
        perm = assignment.solve_lap(gains, maximize=True, where=due)
    else:
        perm = numbers.broadcast_to(numbers.arange(shape[-1], dtype=np.int32), shape)
    scale = numbers.ones(shape, similarity.dtype)
    if permute:  # costs that are not finite have no permutation
        scale = numbers.where(perm < 0, scale.dtype.type(np.nan), scale)
    if signed:
        scale = numbers.where(_chosen(similarity, perm) < 0, -scale, scale)
    return symmetry.Monomial(perm, scale)


def gain(
    similarity: Float[Array, "*N n n"],
    monomial: symmetry.Monomial,
    unsigned: Float[Array, "*N n n"] | None = None,
) -> Float[Array, "*N"]:
    """Return what `project` maximises, `[*N]`, for a monomial."""
    perm, scale = monomial
    total = (scale * _chosen(similarity, perm)).sum(-1)
    if unsigned is not None:
        total = total + _chosen(unsigned, perm).sum(-1)
    return programs.namespace(total).asarray(total)


def relax(
    similarity: Float[Array, "n n"],
    group: symmetry.Group,
    *,
    temperature: Array | float = 1.0,
    num_iters: int = 20,
    gradient: str = "implicit",
    permute: bool = True,
    rescale: bool = True,
) -> Float[Array, "n n"]:
    """Return the relaxed monomial matrix that fits a similarity best.

    Maximises `<Q, C> + temperature * entropy(Q)` over the hull of the group; a smooth
    stand-in for `project`, which is its limit for `temperature -> 0`.

    - Permutations: the Sinkhorn operator of `C / temperature` (Mena et al. 2018, arXiv
      1802.08665, eq. 5; Peña et al. 2023, arXiv 2212.12042).
    - Permutations and signs: `Q = Q_plus - Q_minus` with `Q_plus + Q_minus` doubly
      stochastic, and the entropy of both parts. For given potentials `u`, `v` the parts
      are `exp((+-C + u + v) / temperature)`, whose sum is a Sinkhorn operator again:

          `S = sinkhorn(temperature * log(2 cosh(C / temperature)))`,
          `Q = S * tanh(C / temperature)`.

      At `C = 0` the signs are open and `Q` is zero. This form is ours.

    Law: `relax(g C h^T) = g relax(C) h^T` for all `g`, `h` of the group, once the
    iterations have converged.

    Args:
      similarity: `[n, n]`, rows for the network that stays.
      group: group of the space. Positive scales are balanced beforehand, so that
        `Group.SCALE` is relaxed like `Group.PERMUTATION`.
      temperature: of the entropy, in the unit of the similarity; > 0.
      num_iters: Sinkhorn iterations, at least 1.
      gradient: how `assignment.sinkhorn` is differentiated, "implicit" or "unrolled".
      permute: relax permutations; False leaves every neuron in its place.
      rescale: relax the signs of `Group.SIGN`; False keeps them at one.

    Returns:
      `[n, n]` matrix for `symmetry.act_dense`.
    """
    if group is symmetry.Group.TRIVIAL:
        raise ValueError("A space with the trivial group cannot be moved.")
    signed = rescale and group is symmetry.Group.SIGN
    if not isinstance(temperature, int | float):
        temperature = jnp.asarray(temperature, similarity.dtype)
    scaled = similarity / temperature
    if permute:
        # log(2 cosh(x)), safe from overflow.
        gain = jnp.logaddexp(scaled, -scaled) * temperature if signed else similarity
        matrix = assignment.sinkhorn(
            gain, temperature=temperature, num_iters=num_iters, gradient=gradient
        )
    else:
        matrix = jnp.eye(similarity.shape[0], dtype=similarity.dtype)
    return matrix * jnp.tanh(scaled) if signed else matrix


def _chosen(similarity: Array, perm: Array) -> Array:
    numbers = programs.namespace(similarity, perm)
    return numbers.take_along_axis(similarity, perm[..., None], axis=-1)[..., 0]
