"""Tiny CNNs that nobody trained, for the tests of their merging."""

import jax
import numpy as np

from symmerge_jax import autoencoders, networks, symmetry, testing, zoo

ARCHITECTURE = {"kind": "cnn", "image_shape": [8, 8, 1], "channels": [3]}


def architecture(**changes):
    return zoo.complete_architecture({**ARCHITECTURE, **changes})


def random_networks(num, **changes):
    """Return an architecture's network and stacked generic parameters."""
    network = networks.build(architecture(**changes))
    keys = jax.random.split(jax.random.key(3), num)
    shapes = jax.eval_shape(network.init, keys[0])
    each = [testing.random_params(key, shapes) for key in keys]
    return network, jax.tree.map(lambda *x: np.stack(x).astype(np.float32), *each)


def save_zoo(path, num=24, *, metrics=None, params=None, **changes):
    """Write a zoo whose network i has the accuracy i / num."""
    if params is None:
        _, params = random_networks(num, **changes)
    if metrics is None:
        metrics = {"test_accuracy": np.arange(num) / np.float32(num)}
    zoo.save(path, zoo.create(architecture(**changes), params, metrics=metrics))
    return str(path)


def save_canonicalizer(path, **changes):
    """Write an autoencoder that nobody trained."""
    described = architecture(**changes)
    shapes = jax.eval_shape(networks.build(described).init, jax.random.key(0))
    statistics = {path: (0.1, 0.4) for path in symmetry.flatten(shapes)}
    # The one that compiles the fastest.
    encoder = {"kind": "probe", "width": 4, "num_probes": 4}
    decoder = {"head": "affine"}
    model = autoencoders.build(described, encoder, decoder, statistics)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: random.normal(size=x.shape, scale=0.5).astype(x.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    autoencoders.save_canonicalizer(
        path,
        autoencoders.Canonicalizer(described, encoder, decoder, statistics, variables),
    )
    return str(path)
