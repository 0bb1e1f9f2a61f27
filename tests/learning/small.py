"""Zoos that nobody trained, and trainings that compile in no time."""

import jax
import numpy as np

from symmerge_jax import learning, networks, testing, zoo

SIREN = {"kind": "siren", "layer_sizes": [2, 4, 1]}
MLP = {"kind": "mlp", "layer_sizes": [3, 4, 3]}
PROBE = {"kind": "probe", "width": 4, "num_probes": 3}
FEATURES = {"kind": "probes", "num_probes": 3, "width": 4, "feature_size": 3}
IMAGES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def make_zoo(architecture, num=20, seed=0):
    """Return a zoo of random networks; of SIRENs two of each image."""
    network = networks.build(architecture)
    keys = jax.random.split(jax.random.key(seed), num)
    each = [testing.random_params(key, network) for key in keys]
    params = jax.tree.map(lambda *x: np.stack(x).astype(np.float32), *each)
    columns = {}
    if architecture["kind"] == "siren":
        images = np.random.default_rng(0).random((num // 2, 3, 3), np.float32)
        row = np.arange(num) // 2
        columns = {"images": images, "image_row": row, "image_index": row}
    return zoo.create(architecture, params, **columns)


def options(**changes):
    every = {"log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
    few = {"num_steps": 4, "batch_size": 4, "warmup_steps": 1, **every}
    return learning.FitOptions(**(few | changes))
