"""Small populations that nobody trained, for the tests of learned alignment."""

import jax
import numpy as np

from experiments import harness
from experiments.compare import deep_align
from experiments.populations import pairable
from experiments.train import matcher_training
from symmerge_jax import networks, testing, zoo

ARCHITECTURES = {
    "mlp": {"kind": "mlp", "layer_sizes": [64, 5, 10], "activation": "relu"},
    "cnn": {"kind": "cnn", "image_shape": [8, 8, 1], "channels": [3]},
    "siren": {"kind": "siren", "layer_sizes": [2, 4, 1]},
}


def random_params(architecture, num):
    """Return generic parameters of `num` networks, as arrays of numpy."""
    shapes = jax.eval_shape(networks.build(architecture).init, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), num)
    params = jax.vmap(lambda key: testing.random_params(key, shapes))(keys)
    return jax.tree.map(np.array, params)


def save_zoo(path, kind, num=24, *, params=None, fits_per_image=3, **changes):
    """Write a zoo; of SIRENs each `fits_per_image` in a row draw one image."""
    architecture = {**ARCHITECTURES[kind], **changes}
    if params is None:
        params = random_params(architecture, num)
    columns = {}
    if kind == "siren":
        image = np.arange(num) // fits_per_image
        random = np.random.default_rng(0)
        columns["images"] = random.random((image[-1] + 1, 4, 4), np.float32)
        columns |= {"image_index": image, "image_row": image}
    zoo.save(path, zoo.create(architecture, params, **columns))
    return str(path)


def config(kind, path, **changes):
    """Return a run of `ours` on a zoo; small, so that it compiles in little time."""
    config = deep_align.default_config(kind)
    config.zoo, config.seeds, config.models = path, (0,), ("ours",)
    config.split.val_fraction = config.split.test_fraction = 0.25
    if kind != "siren":
        config.population.data.num_images = 60
    for model in (config.deep_align, config.ours):
        model.num_steps, model.warmup_steps = 2, 1
        model.batch_size, model.inputs_per_pair = 4, 6
        model.log_every = model.evaluate_every = model.checkpoint_every = 2
    config.deep_align.features.update(width=2, num_layers=1, feature_size=4)
    config.ours.features.update(width=4, num_probes=6, feature_size=4)
    config.num_val_pairs, config.num_val_inputs = 2, 5
    config.num_pairs = config.num_points = 3
    config.num_random_starts = 1
    config.sinkhorn.update(num_steps=2, eval_every=2, batch_size=8, eval_size=16)
    config.update_from_flattened_dict(changes)
    return config


def run(config, workdir):
    return harness.run(deep_align.EXPERIMENT, config, workdir)


def load(config, folder):
    """Return the population that matchers are trained on."""
    return pairable.sources(config)["held_out"].load(folder)


def untrained(config, population, name="ours", architecture=None):
    """Return a matcher of a population, before its training."""
    plan = matcher_training.plan(config, name)
    return plan.untrained(population).aligner(architecture=architecture).matcher


def planned(config):
    """Return all populations before any work, by name."""
    found = {}
    for name, source in pairable.sources(config).items():
        assert source.planned is not None
        found[name] = source.planned
    return found
