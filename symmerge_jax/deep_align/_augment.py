"""Copies of networks that are nearly the same: what a matcher is to see through."""

import jax
import jax.numpy as jnp

from symmerge_jax.typing import Array, Key, Params

_NUM_SORTED = 2048
"""Weights of a tensor, evenly spaced, that say which are its smallest ones: sorting all
of them would take longer than the training step that needs them."""


def perturb_weights(
    key: Key,
    params: Params,
    *,
    noise: float = 0.01,
    dropout: float = 0.05,
    prune: float = 0.1,
) -> Params:
    """Return one network with small changes of its weights.

    As in the public code of Navon et al. 2024 (arXiv 2310.13397): every tensor gets
    normal noise, loses weights at random, the others being scaled up, and loses its
    smallest ones.

    Args:
      key: random key.
      params: parameters of one network.
      noise: standard deviation in units of that of the tensor.
      dropout: probability that a weight is dropped, in [0, 1).
      prune: largest share of the smallest weights that are dropped; the share is drawn
        uniformly for every tensor, in [0, 1).
    """
    if noise < 0 or not 0 <= dropout < 1 or not 0 <= prune < 1:
        raise ValueError(
            "noise must be >= 0, dropout and prune in [0, 1), got"
            f" {noise}, {dropout} and {prune}."
        )
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))

    def change(key: Key, x: Array) -> Array:
        noise_key, drop_key, prune_key = jax.random.split(key, 3)
        x = x + noise * jnp.std(x) * jax.random.normal(noise_key, x.shape, x.dtype)
        kept = jax.random.bernoulli(drop_key, 1 - dropout, x.shape)
        x = jnp.where(kept, x / (1 - dropout), 0)
        share = jax.random.uniform(prune_key, maxval=prune)
        some = jnp.abs(x).ravel()[:: max(1, x.size // _NUM_SORTED)]
        return jnp.where(jnp.abs(x) < jnp.quantile(some, share), 0, x)

    return jax.tree.unflatten(
        treedef, [change(k, x) for k, x in zip(keys, leaves, strict=True)]
    )
