"""Predict the class or the accuracy of networks from their weights, supervised.

The tasks that ScaleGMN was published with (Kalogeropoulos et al. 2024, arXiv
2406.10685), as proof of the encoder: which image class an INR draws, and how accurate a
CNN is. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out measures by step
    checkpoints/{latest,best}    for resuming; best by accuracy or tau on validation
    predictor.json               architecture and statistics that the model was made for
    results.json                 measures on held-out networks, published ones beside
    confusion or accuracies, curves: figures as .png and .pdf
"""

import functools
import os
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness
from experiments.populations import make_zoo
from experiments.train import (
    _autoencoder_fit,
    _distort,
    _predict_evaluation,
    _predict_training,
)
from symmerge_jax import plots, training, zoo

MAY_CHANGE: tuple[str, ...] = ()
"""Keys that may differ when a run is resumed, beside those of every run: none."""

_UNUSED = ("decoder", "num_orbits", "num_twins")
"""Keys of autoencoders that nothing reads here."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    `task` is "label", the class of the image of each network, or "accuracy", its metric
    `test_accuracy`. The keys of `make_zoo.default_config` describe the INRs that are
    made if `zoo` names none. `head` are arguments of `autoencoders.predictor`;
    `distort` see `_distort.default_options`; `label_smoothing` is for labels,
    `accuracy_loss` ("bce", binary cross-entropy as published, or "mse") for accuracies.
    `num_probe_networks` of the training networks are given to the baselines. With
    `pretrained`, the workdir of an autoencoder of such networks, its encoder is where
    training starts, and `encoder` is left away.
    """
    config = make_zoo.default_config()
    options = _autoencoder_fit.default_options()
    config.update(
        {
            "experiment": "predict",
            "task": "label",
            "image_size": 28,
            "pretrained": config_dict.placeholder(str),
            "label_smoothing": 0.0,
            "accuracy_loss": "bce",
            "head": {"hidden_sizes": (), "dropout": 0.0},
            "distort": _distort.default_options(),
            **{key: options[key] for key in options if key not in _UNUSED},
        }
    )
    config.encoder.num_probes = 0
    return config


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Make the zoo if there is none, train, and evaluate.

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
    _predict_training.check_options(config, default_config())
    _autoencoder_fit.check_counts(config)
    mesh = training.make_mesh()
    if (planned := _predict_training.plan(config)) is not None:
        _predict_training.check_step(config, planned, mesh)
    folder = harness.open_workdir(workdir, config)
    data = _predict_training.load(config, folder)
    if planned is None:
        _predict_training.check_step(config, data, mesh)
    description = _predict_training.describe(config, data)
    _save_description(folder, description)
    model = _predict_training.make_model(config, description)
    loss_fn = _predict_training.make_loss(config, model)
    _autoencoder_fit.fit(
        config,
        model,
        *_autoencoder_fit.make_step(config, loss_fn, mesh),
        _predict_training.make_batches(config, data),
        _predict_training.make_evaluator(config, model, data),
        folder,
        mesh,
        best=_predict_training.BEST[config.task],
        mode="max",
    )
    return evaluate(folder)


@harness.locking
def evaluate(workdir: str | os.PathLike) -> dict[str, Any]:
    """Measure the trained predictor of a workdir on its held-out networks.

    Args:
      workdir: folder of a finished run.

    Returns:
      The measures, which `results.json` also holds: those of
      `_predict_training.measures` on held-out networks, and with `train_` before the
      name on training networks; those of `_predict_evaluation`; sizes and times;
      `published`. Draws the figures.

    Raises:
      FileNotFoundError: if the run has not finished.
      ValueError: if a file of the run is damaged, or the zoo is now another one.
    """
    folder = pathlib.Path(workdir)
    saved = harness.load_config(folder / "config.json")
    config: harness.Config = harness.check_config(saved, default_config())
    description = _load_description(folder)
    best = _predict_training.BEST[config.task]
    variables, metadata = _autoencoder_fit.load_best(config, folder, best=best)
    data = _predict_training.load(config, folder)
    zoo.require_architecture(data.zoo, description.architecture)
    model = _predict_training.make_model(config, description)
    predict = functools.partial(_predict_evaluation.predict_all, model, variables)
    numbers = data.parts["test"], data.parts["train"][: config.num_probe_networks]
    (test, train), (targets, seen) = (
        [zoo.select(data.zoo, rows) for rows in numbers],
        [data.targets[rows] for rows in numbers],
    )
    outputs = predict(test.params)
    of_train = _predict_training.measures(config, predict(train.params), seen)
    spec = model.network.spec
    results = {
        "task": config.task,
        **_predict_training.measures(config, outputs, targets),
        **{f"train_{name}": value for name, value in of_train.items()},
        **_predict_evaluation.twins(
            config, predict, spec, test.params, outputs, targets
        ),
        **_predict_evaluation.baselines(config, train, test, spec),
        "num_train": len(data.parts["train"]),
        "num_test": len(test),
        "num_parameters": sum(int(np.size(x)) for x in jax.tree.leaves(variables)),
        **metadata,
        "published": _predict_evaluation.published(config, data.zoo),
    }
    predicted = _predict_training.predictions(config, outputs)
    if config.task == "label":
        counts = _predict_evaluation.confusion(
            predicted, targets, description.num_outputs
        )
        results["confusion"] = counts.tolist()
        plots.save_figure(plots.confusion_matrix(counts), folder / "confusion")
    else:
        pairs = {"held-out networks": (targets, predicted)}
        figure = plots.versus(pairs, "test accuracy", "predicted from the weights")
        plots.save_figure(figure, folder / "accuracies")
    harness.write_json(folder / "results.json", results)
    label = {"label": "validation accuracy", "accuracy": "validation tau"}[config.task]
    _autoencoder_fit.draw_curves(folder, label=label, best=best, log_scale=False)
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results of `evaluate` as lines of text, published ones below."""
    ours = {k: v for k, v in results.items() if k not in ("published", "confusion")}
    lines = [_autoencoder_fit.table(ours)]
    if published := results["published"]:
        lines.append(published["on"])
        lines += [
            f"  {entry['quantity']}: {entry['value']} ({entry['source']})"
            for entry in published["numbers"]
        ]
    return "\n".join(lines)


def _save_description(folder, description: _predict_training.Description) -> None:
    statistics = {"/".join(path): list(s) for path, s in description.statistics.items()}
    harness.write_sealed(
        folder / "predictor.json",
        {
            **description._asdict(),
            "architecture": dict(description.architecture),
            "encoder": dict(description.encoder),
            "statistics": statistics,
        },
    )


def _load_description(folder: pathlib.Path) -> _predict_training.Description:
    """Return what a trained predictor was built from."""
    file = folder / "predictor.json"
    if not file.exists():
        raise FileNotFoundError(
            f"No predictor in '{folder}': '{file}' does not exist. Give the workdir of"
            " a finished launch/train.py run."
        )
    keys = set(_predict_training.Description._fields)
    try:
        found = harness.read_sealed(file)
        if set(found) != keys:
            raise ValueError(f"expected an object with the keys {sorted(keys)}")
    except ValueError as error:
        raise ValueError(
            f"'{file}' is damaged: {error}. Rerun launch/train.py on its workdir, which"
            " writes it again."
        ) from error
    found["statistics"] = {
        tuple(name.split("/")): (pair[0], pair[1])
        for name, pair in found["statistics"].items()
    }
    return _predict_training.Description(**found)
