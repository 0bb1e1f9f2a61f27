"""Train an autoencoder of CNN classifiers and measure it.

Boufalis et al. 2025, arXiv 2511.12601, section 5.2: the decoded network has to classify
as the original does. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    classifiers.zoo              the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the divergence on validation
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json, results.npz    measures of all parts of the zoo, arrays of the figures
    accuracies, curves           as .png and .pdf, like all figures
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness, populations
from experiments.populations import make_classifier_zoo
from experiments.train import _classifier_measures, _measures, _training
from symmerge_jax import autoencoders, learning, plots

_CAPTION = """`kl`: divergence of classes from the original's, in nats, as trained for.
`agreement`: share of images that both put into one class.
`X_mean_latent`: a decoder that always gives one good network keeps accuracies, but does
not agree with the network at hand; `X_without_Y`: one part of the latent replaced by
its mean. `tau_X`: rank correlation of the accuracy with one predicted from X."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_classifier_zoo.default_config` describe the zoo that is made if
    `zoo` names none, and the images in both cases. `distill_on` are "train" images, or
    "test" images as published; the first `num_images` of them, all if None;
    `images_per_step` random ones in each step, all if 0. The best state is chosen on
    `num_val_images` test images. `encoder` and `decoder` are arguments of
    `autoencoders.build`.
    """
    config = make_classifier_zoo.default_config()
    config.update(
        {
            **_training.default_options(),
            "experiment": "autoencode_classifiers",
            "distill_on": "train",
            "num_images": config_dict.placeholder(int),
            "images_per_step": 128,
            "temperature": 0.6,
            "num_val_images": 2000,
        }
    )
    config.encoder.input_value = 0.0
    return config


def plan(config: harness.Config) -> _training.Plan:
    """Take a checked config apart."""
    _training.check_encoder(config, default_config())
    _training.check_counts(config)
    harness.at_least(config, num_val_images=1)
    if config.distill_on not in ("train", "test"):
        raise ValueError(
            f"config.distill_on must be 'train' or 'test', got {config.distill_on!r}."
        )
    source = populations.classifier_source(config)
    assert source.planned is not None  # only folders of INRs are imported
    task, count = source.planned.task, config.num_images
    images = (task.test if config.distill_on == "test" else task.train).inputs
    if count is not None and not 1 <= count <= len(images):
        raise ValueError(
            f"config.num_images must lie in 1..{len(images)}, the {config.distill_on}"
            f" images, or be None for all of them, got {count}."
        )
    make_job = functools.partial(
        _make_job,
        images=images[:count],
        num_val_images=config.num_val_images,
        images_per_step=config.images_per_step,
        temperature=config.temperature,
    )
    measure = functools.partial(_measure, temperature=config.temperature)
    return _training.autoencoder_plan(config, source, make_job, measure)


def _make_job(
    population: populations.Population,
    _: pathlib.Path | None,
    *,
    images: np.ndarray,
    num_val_images: int,
    **options: Any,
) -> learning.Job:
    val_images, val_labels = (x[:num_val_images] for x in population.task.test)
    return learning.distillation_job(
        population.zoo,
        population.parts,
        images,
        val_images=val_images,
        val_labels=val_labels,
        **options,
    )


def _measure(
    canonicalizer: autoencoders.Canonicalizer,
    population: populations.Population,
    *,
    temperature: float,
    num_probe_networks: int,
    num_orbits: int,
    num_twins: int,
) -> tuple[harness.Results, harness.Arrays]:
    """Measure all parts of the zoo, and on held-out networks baselines and orbits."""
    names = ("train", "val", "test")
    parts = {name: population.part(name, num_probe_networks) for name in names}
    compare = _classifier_measures.comparison(
        canonicalizer, *population.task.test, temperature=temperature
    )
    latents = {
        name: np.asarray(canonicalizer.encode(part.params))
        for name, part in parts.items()
    }
    found = {name: compare(latents[name], part.params) for name, part in parts.items()}
    test = parts["test"]
    few = jax.tree.map(lambda x: x[:num_orbits], test.params)
    results = {
        f"{part}_{name}": value
        for part, measures in found.items()
        for name, value in _classifier_measures.summary(measures).items()
    }
    results |= {
        **_classifier_measures.baselines(
            canonicalizer, latents["train"].mean(axis=0), test.params, compare
        ),
        **_measures.orbit_spread(canonicalizer, few, num_twins),
        **_classifier_measures.predict_accuracy(
            parts["train"], test, latents["train"], latents["test"]
        ),
        **_measures.sizes_and_speed(canonicalizer, population, test),
    }
    pairs = {
        f"accuracies/{name}": np.stack([f["accuracy_original"], f["accuracy"]])
        for name, f in found.items()
    }
    return results, pairs


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw accuracies of networks and of their reconstructions, and the training."""
    del results
    figures = _training.curves(arrays, label="validation divergence", best="val/kl")
    pairs = harness.arrays_below(arrays, "accuracies/")
    if pairs := {name: (*pair,) for name, pair in pairs.items()}:
        labels = ("accuracy of the original", "accuracy of the decoded")
        figures["accuracies"] = plots.versus(pairs, *labels)
    return figures


EXPERIMENT = harness.Experiment(
    name="autoencode_classifiers",
    defaults=default_config,
    plan=plan,
    run=_training.run,
    evaluate=_training.evaluate,
    many_processes=True,
    tables=lambda results: [harness.measures(_CAPTION, results)],
    draw=draw,
    check_output=autoencoders.load_canonicalizer,
)
