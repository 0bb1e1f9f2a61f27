"""Train an autoencoder of CNN classifiers and measure it.

Boufalis et al. 2025, arXiv 2511.12601, section 5.2: the decoded network has to classify
as the original does. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    classifiers.zoo              the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the divergence on validation
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json                 measures on training and held-out networks
    accuracies, curves           as .png and .pdf, like all figures
"""

import os
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness
from experiments.populations import make_classifier_zoo
from experiments.train import (
    _autoencoder_fit,
    _classifier_evaluation,
    _distill,
    _inr_evaluation,
)
from symmerge_jax import autoencoders, plots, training, zoo

MAY_CHANGE: tuple[str, ...] = ()
"""Keys that may differ when a run is resumed, beside those of every run: none."""

_BEST = "val/kl"

check_output = _autoencoder_fit.check_output


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_classifier_zoo.default_config` describe the zoo that is made if
    `zoo` names none, and the images in both cases. `distill_on` are "train" images, or
    "test" images as published; the first `num_images` of them, all if None;
    `images_per_step` random ones in each step, all if 0. `encoder` and `decoder` are
    arguments of `autoencoders.build`.
    """
    config = make_classifier_zoo.default_config()
    config.update(
        {
            **_autoencoder_fit.default_options(),
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


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Make the zoo, train, export the canonicaliser, and evaluate it.

    A run that was stopped goes on where it was.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      The results of `evaluate`.

    Raises:
      ValueError: unknown keys, values or data that do not fit, keys that others make
        mean nothing, a workdir of another config.
      FileNotFoundError: missing images or zoo.
      FloatingPointError: a loss that is not finite; names the step.
    """
    config = harness.check_config(config, default_config())
    _autoencoder_fit.refuse_unused_encoder(config, default_config())
    _autoencoder_fit.check_counts(config)
    mesh = training.make_mesh()
    planned = _distill.plan(config)
    model = _distill.make_model(config, planned)
    images = _distill.distillation_images(config, planned)
    _autoencoder_fit.make_step(config, _distill.make_loss(config, model, images), mesh)
    _autoencoder_fit.check_step(config, model, len(planned.parts["train"]), mesh)

    folder = harness.open_workdir(workdir, config)
    data = planned
    if config.zoo is None:  # planned networks are zeros
        data = _distill.load(config, folder)
        model = _distill.make_model(config, data)
    loss_fn = _distill.make_loss(config, model, images)
    _autoencoder_fit.fit(
        config,
        model,
        *_autoencoder_fit.make_step(config, loss_fn, mesh),
        _distill.make_batches(config, data, model, images),
        _distill.make_evaluator(config, data, model),
        folder,
        mesh,
        best=_BEST,
    )
    _autoencoder_fit.export(
        config, data.zoo.architecture, data.statistics, folder, best=_BEST
    )
    return evaluate(folder)


@harness.locking
def evaluate(workdir: str | os.PathLike) -> dict[str, Any]:
    """Measure the trained autoencoder of a workdir, also on its held-out networks.

    Args:
      workdir: folder of a finished run.

    Returns:
      The measures, which `results.json` also holds: by part of the zoo those of
      `_classifier_evaluation.summary`, and on held-out networks the others of that
      module, the spread of orbits, times and sizes. Draws the figures
      `accuracies` and `curves`.

    Raises:
      FileNotFoundError: if the run has not finished.
      ValueError: if a file of the run is damaged.
    """
    folder = pathlib.Path(workdir)
    canonicalizer = autoencoders.load_canonicalizer(folder)
    saved = harness.load_config(folder / "config.json")
    config: harness.Config = harness.check_config(saved, default_config())
    data = _distill.load(config, folder)
    zoo.require_architecture(data.zoo, canonicalizer.architecture)
    parts = {
        name: zoo.select(data.zoo, data.parts[name][: config.num_probe_networks])
        for name in ("train", "val", "test")
    }
    compare = _classifier_evaluation.comparison(
        canonicalizer, *data.test, temperature=config.temperature
    )
    latents = {
        name: np.asarray(canonicalizer.encode(part.params))
        for name, part in parts.items()
    }
    found = {name: compare(latents[name], part.params) for name, part in parts.items()}
    test = parts["test"]
    few = jax.tree.map(lambda x: x[: config.num_orbits], test.params)
    results = {
        f"{part}_{name}": value
        for part, measures in found.items()
        for name, value in _classifier_evaluation.summary(measures).items()
    }
    results |= {
        **_classifier_evaluation.baselines(
            canonicalizer, latents["train"].mean(axis=0), test.params, compare
        ),
        **_inr_evaluation.orbit_spread(canonicalizer, few, config.num_twins),
        **_classifier_evaluation.predict_accuracy(
            parts["train"], test, latents["train"], latents["test"]
        ),
        **_autoencoder_fit.sizes_and_speed(
            canonicalizer, len(data.parts["train"]), test
        ),
    }
    harness.write_json(folder / "results.json", results)
    figure = plots.versus(
        {name: (f["accuracy_original"], f["accuracy"]) for name, f in found.items()},
        "accuracy of the original",
        "accuracy of the decoded",
    )
    plots.save_figure(figure, folder / "accuracies")
    _autoencoder_fit.draw_curves(folder, label="validation divergence", best=_BEST)
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results of `evaluate` as lines of text."""
    return _autoencoder_fit.table(results)
