"""Pairs of networks with a known answer, for the benchmark of alignment."""

import functools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import alignment, networks, symmetry, zoo
from symmerge_jax.typing import Key, Params

NUM_ZOO = 10


def real_inrs() -> tuple[Params, Params]:
    """Return the network of the public INR files, and 10 others of another zoo."""
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        raise FileNotFoundError(
            "The benchmark needs real networks: set SYMMERGE_DATA_DIR to the folder"
            " that holds mnist_inrs/ and mnist/."
        )
    real = zoo.import_dws(pathlib.Path(folder, "mnist_inrs")).params
    images = zoo.load_images("mnist", "test", folder, num_images=NUM_ZOO)
    others = zoo.generate_siren_zoo(images, options=zoo.SirenOptions()).params
    return jax.tree.map(lambda x: x[0], real), others


def twins(
    spec: symmetry.SymmetrySpec,
    params: Params,
    num_pairs: int,
    *,
    seed: int,
    permute: bool = True,
    rescale: bool = True,
) -> tuple[Params, ...]:
    """Return pairs of twins, `[num_pairs]` each."""
    draw = functools.partial(
        symmetry.sample_orbit, num_twins=num_pairs, permute=permute, rescale=rescale
    )
    keys = jax.random.split(jax.random.key(seed))
    return tuple(draw(key, params, spec) for key in keys)


@functools.lru_cache
def single(spec: symmetry.SymmetrySpec, aligner: alignment.Aligner) -> Any:
    """Return the program from a pair to (`b` lies on `a` bit for bit, the element)."""
    return jax.jit(functools.partial(_solve, spec, aligner))


@functools.lru_cache
def batched(spec: symmetry.SymmetrySpec, aligner: alignment.Aligner) -> Any:
    """Return the same program for many pairs at once."""
    return jax.jit(jax.vmap(functools.partial(_solve, spec, aligner)))


def _solve(spec, aligner, key, params_a, params_b):
    problem = alignment.AlignmentProblem(
        params_a=params_a, params_b=params_b, spec=spec
    )
    element = aligner(key, problem).element
    moved = symmetry.act(element, params_b, spec)
    same = jax.tree.map(lambda x, y: jnp.all(x == y), params_a, moved)
    return jnp.all(jnp.stack(jax.tree.leaves(same))), element


def plant(
    network: networks.Network,
    num_trials: int,
    *,
    with_biases: bool = True,
    largest_scale: float = 1.0,
) -> tuple[Params, Params, symmetry.GroupElement]:
    """Return Gaussian networks, their twins, and what undoes it, `[num_trials]` each.

    Twins are permuted, and rescaled log-uniformly up to the factor.
    """
    spec = network.spec

    def sample(key, params):
        element = symmetry.sample(key, spec, spec.sizes(params), rescale=False)
        for index, (name, (perm, scale)) in enumerate(element.items()):
            exponent = jax.random.uniform(
                jax.random.fold_in(key, index), scale.shape, minval=-1, maxval=1
            )
            element[name] = symmetry.Monomial(perm, largest_scale**exponent)
        return element

    weights_key, move_key = jax.random.split(jax.random.key(0))
    draw = functools.partial(gaussian, network)
    stay = jax.jit(jax.vmap(draw))(jax.random.split(weights_key, num_trials))
    if not with_biases:
        stay = {
            path: leaf * (path[-1] != "bias")
            for path, leaf in symmetry.flatten(stay).items()
        }
        stay = symmetry.unflatten(stay)
    keys = jax.random.split(move_key, num_trials)
    element = jax.jit(jax.vmap(sample))(keys, stay)
    # Twins come from weights in memory: drawn again, these might be rounded otherwise.
    move = jax.jit(jax.vmap(lambda g, x: symmetry.act(g, x, spec)))(element, stay)
    return stay, move, jax.vmap(symmetry.inverse)(element)


def gaussian(network: networks.Network, key: Key) -> Params:
    """Return parameters that are all standard normal."""
    shapes = jax.eval_shape(network.init, key)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)
