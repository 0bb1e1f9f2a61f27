import jax
import numpy as np
import pytest

from symmerge_jax import autoencoders, networks, symmetry, testing

SIREN = {"kind": "siren", "layer_sizes": [2, 4, 4, 1]}
ENCODER = {"kind": "scale_gmn", "width": 4, "num_layers": 1}


def statistics_of(architecture):
    network = networks.build(architecture)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    return {path: (0.1 * i, 0.2) for i, path in enumerate(sorted(shapes))}


def random_variables(model):
    """Return generic parameters of an autoencoder; nothing is compiled."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda x: random.normal(size=x.shape, scale=0.8).astype(x.dtype), shapes
    )


@pytest.fixture(scope="session")
def describe():
    """Return the four arguments of `autoencoders.build`."""

    def describe(encoder=(), decoder=(), architecture=SIREN):
        encoder = ENCODER | dict(encoder)
        decoder = {"head": "affine"} | dict(decoder)
        return architecture, encoder, decoder, statistics_of(architecture)

    return describe


@pytest.fixture(scope="package")
def canonicalizer(describe):
    """An untrained canonicaliser that reads weights and outputs."""
    descriptions = describe({"num_probes": 3, "scale_inputs": True})
    model = autoencoders.build(*descriptions)
    return autoencoders.Canonicalizer(
        *descriptions, random_variables(model), {"val_mse": 0.25, "best": {"step": 3}}
    )


@pytest.fixture(scope="package")
def population(canonicalizer):
    """Seven generic networks of the canonicaliser's architecture."""
    network = canonicalizer.autoencoder.network
    each = [testing.random_params(key, network) for key in jax.random.split(KEY, 7)]
    return jax.tree.map(lambda *x: np.stack(x), *each)


KEY = jax.random.key(7)
