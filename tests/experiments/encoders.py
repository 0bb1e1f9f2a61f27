"""Runs of autoencoders that nobody trained, for the tests of what compares them."""

import json

import jax
import numpy as np

from experiments import harness
from experiments.train import autoencode, autoencode_classifiers
from symmerge_jax import autoencoders, networks, symmetry, testing, zoo

SIREN = {"kind": "siren", "layer_sizes": [2, 4, 1]}
CNN = {"kind": "cnn", "image_shape": [4, 4, 1], "channels": [3], "activation": "tanh"}


def random_params(architecture, num, seed=0):
    keys = jax.random.split(jax.random.key(seed), num)
    shapes = jax.eval_shape(networks.build(architecture).init, keys[0])
    each = [testing.random_params(key, shapes) for key in keys]
    return jax.tree.map(lambda *x: np.stack(x).astype(np.float32), *each)


def save_zoo(path, num=20, *, architecture=SIREN, seed=0, labels=True):
    """Write a zoo of random networks, INRs of two classes or CNNs."""
    random = np.random.default_rng(seed)
    options = {}
    if architecture["kind"] == "siren":
        options["images"] = random.random((num, 6, 6)).astype(np.float32)
        options["image_row"] = np.arange(num)
        if labels:
            options["labels"] = np.arange(num) % 2
    else:
        options["metrics"] = {"test_accuracy": random.random(num).astype(np.float32)}
    params = random_params(architecture, num, seed)
    zoo.save(path, zoo.create(architecture, params, **options))
    return str(path)


def save_run(folder, zoo_path, *, seed=0, **encoder):
    """Write the folder of a finished run on a zoo."""
    architecture = zoo.load(zoo_path).architecture
    module = autoencode
    if architecture["kind"] == "cnn":
        module = autoencode_classifiers
    config = module.default_config()
    config.zoo, config.seed = zoo_path, seed
    config.val_fraction, config.test_fraction = 0.2, 0.4
    config.batch_size = 4
    folder.mkdir(parents=True)
    harness.save_config(folder / "config.json", config)
    encoder = {"kind": "scale_gmn", "width": 4, "num_layers": 1, **encoder}
    decoder = {"hidden_multipliers": [1], "head": "affine"}
    shapes = jax.eval_shape(networks.build(architecture).init, jax.random.key(0))
    statistics = {path: (0.1, 0.4) for path in symmetry.flatten(shapes)}
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        # Small biases, or they drown what the networks say.
        lambda x: random.normal(
            size=x.shape, scale=1.0 if len(x.shape) > 1 else 0.25
        ).astype(x.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    autoencoders.save_canonicalizer(
        folder / "canonicalizer",
        autoencoders.Canonicalizer(
            architecture, encoder, decoder, statistics, variables
        ),
    )
    (folder / "results.json").write_text(json.dumps({"mse": 0.25}))
    return str(folder)


def save_two_runs(folder):
    """Write the runs of an invariant encoder and of one that is not, on one zoo."""
    path = save_zoo(folder / "inrs.zoo")
    return {
        "ScaleGMN": save_run(folder / "gmn", path),
        "ablated": save_run(folder / "ablated", path, ablate_symmetry=True),
    }
