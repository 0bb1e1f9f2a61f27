"""What a matcher is trained on: known permutations, close weights, low barriers.

The three losses of Navon et al. 2024 (arXiv 2310.13397, section 4), for permutations
and for permutations with signs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from symmerge_jax import alignment, merging, symmetry
from symmerge_jax.typing import Array, Params


def supervised_loss(
    similarities: Mapping[str, Array],
    element: symmetry.GroupElement,
    *,
    signed: bool,
) -> Array:
    """Return the cross-entropy `[]` of a known element, in nats per neuron.

    A neuron of one network chooses among those of the other, and with signs among those
    and their negatives; both networks choose. Mean over neurons, then over spaces.

    Args:
      similarities: `[n, n]` per space.
      element: moves `b` onto `a`.
      signed: whether negative similarities mean flipped neurons.
    """

    def loss(name: str) -> Array:
        perm, scale = element[name]
        parts = []
        inverse = jnp.argsort(perm)
        for logits, target, sign in (
            (similarities[name], perm, scale),
            (similarities[name].T, inverse, scale[inverse]),
        ):
            if signed:
                logits = jnp.concatenate([logits, -logits], axis=1)
                target = jnp.where(sign < 0, target + len(perm), target)
            found = optax.softmax_cross_entropy_with_integer_labels(logits, target)
            parts.append(jnp.mean(found))
        return jnp.stack(parts).mean()

    return jnp.stack([loss(name) for name in similarities]).mean()


def alignment_loss(params_a: Params, params_b: Params) -> Array:
    """Return the mean squared difference `[]` of weights, summed over tensors.

    Args:
      params_a: one network.
      params_b: the other one, moved.
    """
    difference = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), params_a, params_b)
    return sum(jax.tree.leaves(difference), jnp.zeros(()))


def task_loss(
    loss_fn: Callable[[Params, Any], Array],
    params_a: Params,
    params_b: Params,
    lam: Array,
    data: Any,
) -> Array:
    """Return the task loss `[]` between two networks: linear mode connectivity.

    Args:
      loss_fn: `loss_fn(params, data) -> []`.
      params_a: one network.
      params_b: the other one, moved.
      lam: place on the path `(1 - lam) a + lam b`, in [0, 1].
      data: what `loss_fn` takes.
    """
    return loss_fn(merging.interpolate(params_a, params_b, lam), data)


def move_softly(
    similarities: Mapping[str, Array],
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    *,
    signed: bool,
) -> Params:
    """Return a network moved by relaxed elements, with gradients to the similarities.

    Args:
      similarities: `[n, n]` per space, rows for the network that stays.
      params_b: the network that moves.
      spec: its symmetry.
      signed: whether negative similarities mean flipped neurons.
    """
    matrices = {
        name: alignment.relax(
            similarity,
            spec.space(name).group,
            rescale=signed,
            gradient="unrolled",
        )
        for name, similarity in similarities.items()
    }
    return symmetry.act_dense(matrices, params_b, spec)
