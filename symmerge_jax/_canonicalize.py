"""The verb that maps every twin of a network to one representative."""

import functools

import jax
import numpy as np
from jax import core

from symmerge_jax import autoencoders, symmetry
from symmerge_jax.typing import Params


def canonicalize(
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    canonicalizer: autoencoders.Canonicalizer | None = None,
) -> Params:
    """Return the representative that all twins of a network share.

    Without a `canonicalizer` the closed form is used: the result is itself a twin of
    the input, with the same function to rounding (see `symmetry.canonical_form`). With
    one, the result is the autoencoder's reconstruction (Boufalis et al. 2025, arXiv
    2511.12601): a network with *approximately* the same function, whose weights can be
    interpolated with those of other reconstructions.

    Law: `canonicalize(act(g, params, spec), spec) = canonicalize(params, spec)` for
    every group element `g`.

    Args:
      params: parameters of one network, or of a batch of networks with leading axes.
        Double precision is kept (as numpy arrays where JAX has it switched off).
      spec: symmetry of the architecture.
      canonicalizer: from `load_canonicalizer`; None for the closed form.

    Returns:
      Parameters with the tree and the shapes of `params`.

    Raises:
      ValueError: if the parameters do not fit the spec or are not finite, or if the
        canonicaliser was trained for another spec or other layer sizes. What a spec
        does not say (an output offset, ReLU or leaky ReLU) is not checked.

    Example:
      >>> import jax
      >>> from symmerge_jax import networks, symmetry
      >>> network = networks.siren((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 5)
      >>> forms = canonicalize(twins, network.spec)
      >>> bool((forms["dense_0"]["kernel"] == forms["dense_0"]["kernel"][:1]).all())
      True
    """
    batch_shape = spec.batch_shape(params)
    if canonicalizer is not None:
        if canonicalizer.spec != spec:
            raise ValueError(
                "The canonicalizer was trained for another symmetry: its spaces are"
                f" {canonicalizer.spec.spaces}, the network's {spec.spaces}."
            )
        return canonicalizer.reconstruct(params)
    leaves = jax.tree.leaves(params)
    if 0 in batch_shape:
        raise ValueError("There are zero networks in the batch.")
    if not any(isinstance(leaf, core.Tracer) for leaf in leaves):
        symmetry.check_finite(params)
    double = any(np.dtype(leaf.dtype) == np.float64 for leaf in leaves)
    function = _closed_form(spec, len(batch_shape))
    if not double or jax.config.jax_enable_x64:  # pyright: ignore
        return function(params)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(params))


@functools.cache
def _closed_form(spec: symmetry.SymmetrySpec, num_batch_axes: int):
    """Return the compiled closed form for parameters with this many leading axes."""

    def function(params: Params) -> Params:
        return symmetry.canonical_form(params, spec)

    for _ in range(num_batch_axes):
        function = jax.vmap(function)
    return jax.jit(function)
