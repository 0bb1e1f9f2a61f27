"""The parts of the training of a matcher: model, losses, batches, validation."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.populations import _align_population
from experiments.train import _autoencoder_fit, _distort
from symmerge_jax import autoencoders, deep_align, symmetry, training, zoo
from symmerge_jax.typing import Array, Key, Params

MODELS = ("deep_align", "ours")
"""Matchers that a run trains, each described by the config group of its name."""

KINDS = {"deep_align": "deep_weight_space", "ours": "probes"}
"""What they read neurons by, unless the config says otherwise."""

BEST = "val/loss"
"""Mean task loss at the midpoints of validation pairs, by which the best is kept."""

_PROBES = {"num_probes": 64, "feature_size": 64, "width": 128, "num_rounds": 0}


def default_features(kind: str) -> dict[str, Any]:
    """Return the options of a kind of features, with their defaults.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in deep_align.FEATURES:
        raise ValueError(
            f"Features are of kind {kind!r}, known are {deep_align.FEATURES}."
        )
    if kind == "probes":
        return {"kind": kind, **_PROBES}
    known = autoencoders.encoder_keys(kind)
    options = _autoencoder_fit.default_options()["encoder"]
    unread = {"latent_size", "num_probes"}
    kept = {k: v for k, v in options.items() if k in known and k not in unread}
    return kept | {"kind": kind, "num_rounds": 0}


def default_options(kind: str) -> ConfigDict:
    """Return the keys of one matcher: its features, losses and training.

    `losses` are weights of the three of Navon et al. 2024, published: all 1. The others
    are those of every training run here; `batch_size` counts pairs, `inputs_per_pair`
    the examples of the task that each sees in a step.
    """
    options = _autoencoder_fit.default_options()
    kept = (
        "num_steps",
        "batch_size",
        "num_microbatches",
        "parallel",
        "learning_rate",
        "schedule",
        "warmup_steps",
        "weight_decay",
        "clip_norm",
        "amsgrad",
        "log_every",
        "evaluate_every",
        "checkpoint_every",
        "keep_checkpoints",
    )
    return ConfigDict(
        {
            "features": default_features(kind),
            "losses": {"supervised": 1.0, "alignment": 1.0, "task": 1.0},
            **{key: options[key] for key in kept},
            "batch_size": 32,
            "inputs_per_pair": 32,
            "ema_decay": config_dict.placeholder(float),
        }
    )


def make_matcher(
    config: harness.Config,
    name: str,
    population: _align_population.Population,
    architecture: Mapping[str, Any] | None = None,
) -> deep_align.Matcher:
    """Return the matcher of a config group that is trained on a population.

    Args:
      config: keys of `deep_align.default_config`.
      name: one of `MODELS`.
      population: of training.
      architecture: of the networks that it compares, if it is not that of training.

    Raises:
      ValueError: an unknown option of the features, or an architecture that differs in
        more than the widths of hidden layers.
    """
    untrained = deep_align.TrainedMatcher(
        architecture=population.architecture,
        features=features(config, name),
        statistics=population.statistics,
        variables=None,
    )
    return untrained.aligner(architecture=architecture).matcher


def features(config: harness.Config, name: str) -> dict[str, Any]:
    """Return what `deep_align.build` takes as features."""
    found = config[name].features.to_dict()
    return {key: value for key, value in found.items() if value is not None}


def fit_config(config: harness.Config, name: str, seed: int) -> harness.Config:
    """Return the config of one training run, as the shared loop reads it."""
    return ConfigDict({**config[name].to_dict(), "seed": seed})


def make_loss(
    config: harness.Config,
    name: str,
    matcher: deep_align.Matcher,
):
    """Return `loss_fn(variables, batch, key)`: the weighted sum, and each loss."""
    weights = config[name].losses
    spec = matcher.network.spec
    task = _align_population.make_loss(matcher.network)

    def supervised(variables, params, key) -> Array:
        twins, elements = make_twins(config, matcher, params, key)
        found = matcher.similarities(variables, params, twins)
        one = lambda q, g: deep_align.supervised_loss(q, g, signed=matcher.signed)  # noqa: E731
        return jnp.mean(jax.vmap(one)(found, elements))

    def between(variables, batch, key) -> dict[str, Array]:
        found = matcher.similarities(variables, batch["a"], batch["b"])

        def one(key, similarities, a, b, data):
            moved = deep_align.move_softly(similarities, b, spec, signed=matcher.signed)
            lam = jax.random.uniform(key)
            loss = deep_align.task_loss(
                lambda params, data: task(params, data)["loss"], a, moved, lam, data
            )
            return {"alignment": deep_align.alignment_loss(a, moved), "task": loss}

        keys = jax.random.split(key, len(jax.tree.leaves(batch)[0]))
        losses = jax.vmap(one)(keys, found, batch["a"], batch["b"], batch["data"])
        return jax.tree.map(jnp.mean, losses)

    def loss_fn(variables, batch, key):
        twin_key, pair_key = jax.random.split(key)
        losses = {}
        if weights.supervised:
            losses["supervised"] = supervised(variables, batch["a"], twin_key)
        if weights.alignment or weights.task:
            losses |= between(variables, batch, pair_key)
        total = sum((weights[key] * losses[key] for key in losses), jnp.zeros(()))
        return total, losses

    return loss_fn


def make_twins(
    config: harness.Config, matcher: deep_align.Matcher, params_batch: Params, key: Key
) -> tuple[Params, symmetry.GroupElement]:
    """Return changed copies of `[N]` networks, moved, and what moves them back.

    Args:
      config: `augment` as in `deep_align.perturb_weights`, and `scale`: the largest
        relative change of a neuron that can be scaled; `distort` of INRs.
      matcher: says whether signs are changed.
      params_batch: `[N]` networks.
      key: random key.

    Returns:
      The copies, and elements that bring them back upon the networks.
    """
    spec = matcher.network.spec
    options = {key: config.augment[key] for key in ("noise", "dropout", "prune")}
    keys = jax.random.split(key, 2)
    read = params_batch
    if config.networks == "siren":
        read = _distort.distort(keys[0], params_batch, config)

    def twin(key, params):
        draw_key, move_key, scale_key = jax.random.split(key, 3)
        element = symmetry.sample(
            move_key, spec, spec.sizes(params), rescale=matcher.signed
        )
        for index, space in enumerate(spec.spaces):
            if space.group is symmetry.Group.SCALE and config.augment.scale:
                perm, scale = element[space.name]
                by = jax.random.uniform(
                    jax.random.fold_in(scale_key, index),
                    scale.shape,
                    minval=1 - config.augment.scale,
                    maxval=1 + config.augment.scale,
                )
                element[space.name] = symmetry.Monomial(perm, by)
        copy = deep_align.perturb_weights(draw_key, params, **options)
        return symmetry.act(element, copy, spec), symmetry.inverse(element)

    num = len(jax.tree.leaves(params_batch)[0])
    return jax.vmap(twin)(jax.random.split(keys[1], num), read)


def make_batches(
    config: harness.Config,
    name: str,
    seed: int,
    population: _align_population.Population,
):
    """Return the batch of a step: pairs "a" and "b", and "data" of the task of each.

    Each network of the training part comes first in one pair of every pass; its partner
    is drawn from all others, or from the others that draw its image.
    """
    rows, group = population.parts["train"], population.group
    size, num_inputs = config[name].batch_size, config[name].inputs_per_pair

    def partner(random, row):
        others = rows if group is None else rows[group[rows] == group[row]]
        others = others[others != row]
        return random.choice(others) if len(others) else row

    def batch_fn(step: int):
        first = rows[zoo.batch_indices(seed, step, size, len(rows))]
        random = np.random.default_rng([seed, step])
        second = np.array([partner(random, row) for row in first])
        return {
            "a": _align_population.pick(population.params, first),
            "b": _align_population.pick(population.params, second),
            "data": _examples(population, first, num_inputs, random),
        }

    return batch_fn


def make_evaluator(
    config: harness.Config,
    matcher: deep_align.Matcher,
    population: _align_population.Population,
):
    """Return the mean task loss of validation midpoints as a function of the state."""
    task = _align_population.make_loss(matcher.network)
    pairs = _align_population.draw_pairs(population, "val", config.num_val_pairs, 0)
    random = np.random.default_rng(0)
    data = _examples(population, pairs[:, 0], config.num_val_inputs, random)
    a, b = (_align_population.pick(population.params, pairs[:, i]) for i in (0, 1))
    align = align_batch(matcher)

    @jax.jit
    def losses(variables, rows):
        a, b, data = rows
        moved = align(variables, a, b)

        def midpoint(a, b, data):
            mean = jax.tree.map(lambda x, y: (x + y) / 2, a, b)
            return task(mean, data)

        return jax.vmap(midpoint)(a, moved, data)

    def evaluator(state):
        variables = training.eval_params(state)
        run = lambda rows: losses(variables, rows)  # noqa: E731
        found = autoencoders.map_batches(run, (a, b, data), 32)
        for key, values in found.items():
            yield key, float(np.mean(values))

    return evaluator


def align_batch(matcher: deep_align.Matcher):
    """Return `align(variables, a, b) -> moved`: `[N]` pairs, by the matcher alone."""
    spec = matcher.network.spec

    def align(variables, a: Params, b: Params) -> Params:
        found = matcher.similarities(variables, a, b)

        def move(similarities, params):
            element = deep_align.assign(similarities, spec, signed=matcher.signed)
            return symmetry.act(element, params, spec)

        return jax.vmap(move)(found, b)

    return align


def _examples(
    population: _align_population.Population,
    rows: np.ndarray,
    num: int,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return random examples `[N, num, ...]` of the task of each network."""
    data = population.train_data
    num_all = len(data["inputs"])
    chosen = random.integers(num_all, size=(len(rows), min(num, num_all)))
    found = {name: x[chosen] for name, x in data.items()}
    own = {name: x[rows[:, None], chosen] for name, x in population.own.items()}
    return found | own
