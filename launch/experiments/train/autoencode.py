"""Train an autoencoder of INRs and measure it: the main experiment.

Boufalis et al. 2025, arXiv 2511.12601, section 5.1: the decoded network has to render
what the original renders. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the error on validation networks
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json                 measures on held-out networks
    reconstructions, curves      as .png and .pdf, like all figures
"""

import os
import pathlib
from typing import Any

import jax
from ml_collections import config_dict

from experiments import harness
from experiments.populations import _inr_data, make_zoo
from experiments.train import _autoencoder_fit, _inr_evaluation, _inr_training
from symmerge_jax import autoencoders, plots, training, zoo

MAY_CHANGE: tuple[str, ...] = ()
"""Keys that may differ when a run is resumed, beside those of every run: none."""

check_output = _autoencoder_fit.check_output


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_zoo.default_config` describe the zoo that is made if `zoo` names
    none; beside a zoo they may be left away, or say how it was made. `encoder` and
    `decoder` are arguments of `autoencoders.build`.
    """
    config = make_zoo.default_config()
    config.update(
        {
            "experiment": "autoencode",
            "image_size": 28,
            "loss": "function",
            "num_points": config_dict.placeholder(int),
            "pixel_expansion": 1,
            **_autoencoder_fit.default_options(),
        }
    )
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
    _inr_training.check_unused(config, default_config())
    _autoencoder_fit.check_counts(config)
    mesh = training.make_mesh()
    if (planned := _inr_data.plan(config)) is not None:
        _inr_training.check_step(config, planned, mesh)
    folder = harness.open_workdir(workdir, config)
    data = _inr_data.load(config, folder)
    model = _inr_training.make_model(config, data)
    loss_fn = _inr_training.make_loss(config, model, data)
    _autoencoder_fit.fit(
        config,
        model,
        *_autoencoder_fit.make_step(config, loss_fn, mesh),
        _inr_training.make_batches(config, model, data),
        _inr_training.make_evaluator(config, model, data, folder),
        folder,
        mesh,
        best="val/mse",
    )
    _autoencoder_fit.export(
        config, data.zoo.architecture, data.statistics, folder, best="val/mse"
    )
    return evaluate(folder)


@harness.locking
def evaluate(workdir: str | os.PathLike) -> dict[str, Any]:
    """Measure the trained autoencoder of a workdir on its held-out networks.

    Args:
      workdir: folder of a finished run.

    Returns:
      The measures, which `results.json` also holds: those of `_inr_evaluation`, times
      and sizes. Draws the figures `reconstructions` and `curves`.

    Raises:
      FileNotFoundError: if the run has not finished.
      ValueError: if a file of the run is damaged.
    """
    folder = pathlib.Path(workdir)
    canonicalizer = autoencoders.load_canonicalizer(folder)
    saved = harness.load_config(folder / "config.json")
    config: harness.Config = harness.check_config(saved, default_config())
    data = _inr_data.load(config, folder)
    zoo.require_architecture(data.zoo, canonicalizer.architecture)
    test = zoo.select(data.zoo, data.parts["test"])
    train = zoo.select(data.zoo, data.parts["train"][: config.num_probe_networks])

    grid = _inr_data.coordinates(data, 1)
    measures, originals, decoded = _inr_evaluation.reconstruct(
        canonicalizer, test, grid
    )
    ablations = _inr_evaluation.without_parts(canonicalizer, test, grid, originals)
    few = jax.tree.map(lambda x: x[: config.num_orbits], test.params)
    spread = _inr_evaluation.orbit_spread(canonicalizer, few, config.num_twins)
    accuracies = _inr_evaluation.probes(canonicalizer, train, test)
    results = {
        **measures,
        **ablations,
        **spread,
        **accuracies,
        **_autoencoder_fit.sizes_and_speed(
            canonicalizer, len(data.parts["train"]), test
        ),
    }
    harness.write_json(folder / "results.json", results)
    shape = (-1, data.height, data.width)
    plots.save_figure(
        plots.image_rows(
            [originals[:10].reshape(shape), decoded[:10].reshape(shape)],
            ["original", "decoded"],
        ),
        folder / "reconstructions",
    )
    _autoencoder_fit.draw_curves(folder, label="validation MSE", best="val/mse")
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results of `evaluate` as lines of text."""
    return _autoencoder_fit.table(results)
