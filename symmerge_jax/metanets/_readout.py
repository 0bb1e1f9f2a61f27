"""From node features to one latent per network."""

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _equivariant
from symmerge_jax.typing import Array, Key, Params


def init_readout(
    key: Key,
    topology: graphs.Topology,
    canonicalization: _equivariant.Canonicalization | None,
    width: int,
    latent_size: int,
    *,
    which: str,
) -> Params:
    """Return `out` and, for "full_graph", `phi` and `rho` of the hidden neurons."""
    keys = jax.random.split(key, 3)
    mlp = _equivariant.init_mlp
    counts = _counts(topology)
    if which == "last_layer":
        return {"out": mlp(keys[0], counts["output"] * width, width, latent_size)}
    params = {"phi": mlp(keys[0], width, width, width)}
    size = width
    if canonicalization is not None:
        size = width * (1 + counts["input"] + counts["output"])
        if canonicalization.has_rho:
            params["rho"] = mlp(keys[1], width, width, width)
        if canonicalization.mixed:
            params["phi_scale"] = mlp(jax.random.fold_in(key, 3), width, width, width)
    params["out"] = mlp(keys[2], size, width, latent_size)
    return params


def readout(
    params: Params,
    topology: graphs.Topology,
    canonicalization: _equivariant.Canonicalization | None,
    nodes: tuple[Array, ...],
    switch: Array | None = None,
    *,
    which: str,
) -> Array:
    """Return the latents `[N, latent_size]`.

    "full_graph" is `out([sum_i phi(c(x_i)), inputs, outputs])` with the sum over hidden
    neurons, and `out(sum_i phi(x_i))` over all neurons in the permutation-only model;
    "last_layer" is `out(outputs)`.

    Args:
      params: from `init_readout`.
      topology: the spaces.
      canonicalization: `c`; None for the permutation-only model.
      nodes: `[N, n, D]` per space.
      switch: `[N]` bool, which networks have scales; for mixed batches only.
      which: the readout.
    """
    of_role = {"input": [], "hidden": [], "output": []}
    for space, x in zip(topology.spaces, nodes, strict=True):
        of_role[space.role].append(x)
    flat = {
        role: [x.reshape(len(x), -1) for x in of_role[role]]
        for role in ("input", "output")
    }
    if which == "last_layer":
        parts = flat["output"]
    elif canonicalization is None:
        parts = [_pool(_equivariant.IDENTITY, params, nodes, None)]
    else:
        if of_role["hidden"]:
            pooled = _pool(canonicalization, params, of_role["hidden"], switch)
        else:
            pooled = jnp.zeros_like(nodes[0][:, 0])
        parts = [pooled, *flat["input"], *flat["output"]]
    return _equivariant.mlp(params["out"], jnp.concatenate(parts, axis=-1))


def _pool(canonicalization, params, nodes, switch):
    """Return the sum over all given nodes of `phi(c(x))`."""
    x = jnp.concatenate(nodes, axis=1)
    return jnp.sum(_equivariant.invariant(canonicalization, params, x, switch), axis=1)


def _counts(topology: graphs.Topology) -> dict[str, int]:
    counts = {"input": 0, "hidden": 0, "output": 0}
    for space in topology.spaces:
        counts[space.role] += space.size
    return counts
