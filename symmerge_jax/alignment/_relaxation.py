"""Relaxed group elements: matrices inside the convex hull of a group.

The hull of the permutations is the set of doubly stochastic matrices, that of the
signed permutations the set of matrices whose absolute values are dominated by one.
"""

import jax.numpy as jnp
from jaxtyping import Float

from symmerge_jax import assignment, symmetry
from symmerge_jax.typing import Array


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
