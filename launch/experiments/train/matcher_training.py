"""The training of matchers, as the config of learned alignment describes it."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import harness, populations
from experiments.populations import pairable
from experiments.train import _training
from symmerge_jax import deep_align, learning, metanets, symmetry
from symmerge_jax.typing import Params

MODELS = ("deep_align", "ours")
"""Matchers that a run trains, each described by the config group of its name."""

KINDS = {"deep_align": "deep_weight_space", "ours": "probes"}
"""What they read neurons by, unless the config says otherwise."""

_PROBES = {"num_probes": 64, "feature_size": 64, "width": 128, "num_rounds": 0}


class Plan(NamedTuple):
    """A matcher to be trained.

    Attributes:
      features: see `deep_align.build`.
      weights: of the losses.
      copies: how the copies differ that it is to recognise.
      options: how it is trained; the seed is another for each training.
      inputs_per_pair: examples of the task that each pair sees in a step.
      num_val_pairs: pairs of the validation.
      num_val_inputs: examples that each of them sees.
      twin_seed: of the twins whose neurons are to be found again.
    """

    features: Mapping[str, Any]
    weights: learning.LossWeights
    copies: learning.CopyOptions
    options: learning.FitOptions
    inputs_per_pair: int
    num_val_pairs: int
    num_val_inputs: int
    twin_seed: int

    def untrained(
        self, population: populations.Population
    ) -> deep_align.TrainedMatcher:
        """Return the matcher of a population, before its training."""
        return deep_align.TrainedMatcher(
            architecture=dict(population.zoo.architecture),
            features=dict(self.features),
            statistics=population.statistics,
            variables=None,
        )

    def job(self, population: populations.Population) -> learning.Job:
        """Return the training on a population; refuses options that do not fit it."""
        return learning.matcher_job(
            pairable.pairable(population),
            self.untrained(population),
            weights=self.weights,
            copies=self.copies,
            inputs_per_pair=self.inputs_per_pair,
            num_val_pairs=self.num_val_pairs,
            num_val_inputs=self.num_val_inputs,
        )


def default_features(kind: str) -> dict[str, Any]:
    """Return the options of a kind of features, with their defaults."""
    if kind not in deep_align.FEATURES:
        raise ValueError(
            f"Features are of kind {kind!r}, known are {deep_align.FEATURES}."
        )
    if kind == "probes":
        return {"kind": kind, **_PROBES}
    known = metanets.encoder_keys(kind)
    options = _training.default_options()["encoder"]
    unread = {"latent_size", "num_probes"}
    kept = {k: v for k, v in options.items() if k in known and k not in unread}
    return kept | {"kind": kind, "num_rounds": 0}


def default_options(kind: str) -> harness.ConfigDict:
    """Return the keys of one matcher: its features, losses and training.

    `losses` are weights of the three of Navon et al. 2024, published: all 1. The others
    are those of every training run here; `batch_size` counts pairs, `inputs_per_pair`
    the examples of the task that each sees in a step.
    """
    return harness.ConfigDict(
        {
            "features": default_features(kind),
            "losses": {"supervised": 1.0, "alignment": 1.0, "task": 1.0},
            **_training.fit_keys(),
            "batch_size": 32,
            "inputs_per_pair": 32,
        }
    )


def plan(config: harness.Config, name: str) -> Plan:
    """Return the matcher `name`, one of `MODELS`, of a `deep_align.default_config`."""
    features = config[name].features.to_dict()
    try:
        warp = learning.Warp(**config.distort)
        copies = learning.CopyOptions(**config.augment, warp=warp)
    except ValueError as error:
        raise ValueError(f"config.augment and config.distort: {error}") from error
    return Plan(
        features={key: x for key, x in features.items() if x is not None},
        weights=learning.LossWeights(**config[name].losses),
        copies=copies,
        options=_training.fit_options(config[name], 0, f"config.{name}"),
        inputs_per_pair=config[name].inputs_per_pair,
        num_val_pairs=config.num_val_pairs,
        num_val_inputs=config.num_val_inputs,
        twin_seed=config.split.seed,
    )


def trained(
    plan: Plan, population: populations.Population, seed: int, folder: pathlib.Path
) -> deep_align.TrainedMatcher:
    """Return a matcher, trained and saved in a folder unless its file can be read."""
    try:
        return deep_align.load_matcher(folder / "matcher")
    except (FileNotFoundError, ValueError):
        pass  # not there, or damaged: it is exported (again)
    job = plan.job(population)
    options = dataclasses.replace(plan.options, seed=seed)
    matcher = learning.fit(job, folder, options)
    _training.draw_curves(folder, label="validation loss at midpoints", best=job.best)
    held_out = symmetry.rows(population.params, population.parts["test"])
    metadata = {
        **matcher.metadata,
        **recovered(plan, matcher.matcher, matcher.variables, held_out),
    }
    matcher = dataclasses.replace(matcher, metadata=metadata)
    deep_align.save_matcher(folder / "matcher", matcher)
    return matcher


def recovered(
    plan: Plan, matcher: deep_align.Matcher, variables: Any, params_batch: Params
) -> dict[str, float]:
    """Return the fraction of neurons that a matcher finds again in twins.

    Returns:
      `twins` for exact copies of networks `[N]`, and `changed_twins` for copies that
      are changed as in training. Neurons that are dead on all inputs count, though
      they all look alike.
    """
    exact = learning.CopyOptions(noise=0.0, dropout=0.0, prune=0.0, scale=0.0)
    key = jax.random.key(plan.twin_seed)
    return {
        name: float(_fraction_found(matcher, copies)(variables, params_batch, key))
        for name, copies in (("twins", exact), ("changed_twins", plan.copies))
    }


def _fraction_found(matcher: deep_align.Matcher, copies: learning.CopyOptions):
    """Return the program that makes twins and says how many neurons are found."""
    spec, signed = matcher.network.spec, matcher.signed

    def fraction(variables, params, key):
        twins, elements = learning.moved_copies(
            key, params, spec, copies, signed=signed
        )
        found = matcher.similarities(variables, params, twins)

        def one(similarities, element):
            hits = []
            chosen = deep_align.nearest_element(similarities, spec, signed=signed)
            for name, (perm, scale) in chosen.items():
                hit = perm == element[name].perm
                if signed:
                    hit &= jnp.sign(scale) == jnp.sign(element[name].scale)
                hits.append(hit)
            return jnp.mean(jnp.concatenate(hits))

        return jnp.mean(jax.vmap(one)(found, elements))

    return jax.jit(fraction)
