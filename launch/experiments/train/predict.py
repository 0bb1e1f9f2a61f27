"""Predict the class or the accuracy of networks from their weights, supervised.

The tasks that ScaleGMN was published with (Kalogeropoulos et al. 2024, arXiv
2406.10685), as proof of the encoder: which image class an INR draws, and how accurate a
CNN is. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out measures by step
    checkpoints/{latest,best}    for resuming; best by accuracy or tau on validation
    predictor/                   the trained predictor, for `learning.load_predictor`
    results.json, results.npz    measures on held-out networks, arrays of the figures
    confusion or accuracies, curves: figures as .png and .pdf
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness, populations
from experiments.populations import make_zoo
from experiments.train import _classifier_measures, _measures, _training
from symmerge_jax import autoencoders, learning, plots

_METRIC = "test_accuracy"
"""What the task "accuracy" predicts."""

_UNUSED = ("decoder", "num_orbits", "num_twins")
"""Keys of autoencoders that nothing reads here."""

_CAPTIONS = {
    "label": """Held-out networks; `train_X`: training networks.
`X_of_twins`: every network replaced by a random twin; `twin_change`: largest change of
an output, in standard deviations of outputs (zero: invariant). `probe_X`: accuracy of
logistic regression on weights in closed canonical form, and on raw weights.""",
    "accuracy": """Held-out networks; `train_X`: training networks.
`tau`: Kendall's rank correlation of true and predicted accuracy; `X_of_twins`: every
network replaced by a random twin. `tau_X`: the same for support-vector regression on
statistics of every tensor, weights in closed canonical form, and raw weights.""",
}


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    `task` is "label", the class of the image of each network, or "accuracy", its metric
    `test_accuracy`. The keys of `make_zoo.default_config` describe the INRs that are
    made if `zoo` names none. `head` are arguments of `metanets.make_predictor`;
    `distort` are those of `learning.Warp`; `label_smoothing` is for labels,
    `accuracy_loss` ("bce", binary cross-entropy as published, or "mse") for accuracies.
    `num_probe_networks` of the training networks are given to the baselines. With
    `pretrained`, the workdir of an autoencoder of such networks, its encoder is where
    training starts, and `encoder` is omitted.
    """
    config = make_zoo.default_config()
    options = _training.default_options()
    config.update(
        {
            "experiment": "predict",
            "task": "label",
            "image_size": 28,
            "pretrained": config_dict.placeholder(str),
            "label_smoothing": 0.0,
            "accuracy_loss": "bce",
            "head": dict(learning.HEAD),
            "distort": {"rotation": 0.0, "scale": 0.0, "shift": 0.0},
            **{key: options[key] for key in options if key not in _UNUSED},
        }
    )
    config.encoder.num_probes = 0
    return config


def plan(config: harness.Config) -> _training.Plan:
    """Take a checked config apart."""
    _check_task(config)
    _training.check_counts(config)
    warp = learning.Warp(**config.distort)
    encoder = pretrained = None
    if config.pretrained is None:
        encoder = _training.encoder_options(config)
    else:
        pretrained = autoencoders.load_canonicalizer(config.pretrained)
    make_goal = functools.partial(
        _goal,
        task=config.task,
        name=config.zoo or "the zoo",
        label_smoothing=config.label_smoothing,
        loss=config.accuracy_loss,
    )
    return _training.Plan(
        source=populations.inr_source(config),
        make_job=functools.partial(
            _make_job,
            make_goal=make_goal,
            encoder=encoder,
            head=config.head.to_dict(),
            pretrained=pretrained,
            warp=warp,
            augment=config.augment,
        ),
        options=_training.fit_options(config, config.seed),
        model="predictor",
        save=learning.save_predictor,
        load=learning.load_predictor,
        measure=functools.partial(
            _measure,
            make_goal=make_goal,
            task=config.task,
            num_probe_networks=config.num_probe_networks,
            seed=config.seed,
        ),
    ).check()


def _check_task(config: harness.Config) -> None:
    """Refuse an unknown task, and keys that the task or the encoder does not read."""
    defaults = default_config()
    unread = {"label": ["accuracy_loss"], "accuracy": ["label_smoothing"]}
    if config.task not in unread:
        raise ValueError(f"config.task is {config.task!r}, known are {tuple(unread)}.")
    because = f"task={config.task!r}"
    harness.refuse_unused(config, defaults, unread[config.task], because)
    if config.pretrained is None:
        _training.check_encoder(config, defaults)
    else:
        because = f"pretrained={config.pretrained!r}"
        harness.refuse_unused(config, defaults, ["encoder"], because)
    if config.task == "accuracy" and config.zoo is None:
        raise ValueError(
            "config.zoo names no zoo of CNN classifiers: make one with python"
            " launch/make_zoo.py --config=launch/configs/zoo_cnn.py --out=PATH"
        )


def _goal(
    population: populations.Population,
    *,
    task: str,
    name: str,
    label_smoothing: float,
    loss: Any,
) -> tuple[np.ndarray, learning.Goal]:
    """Return what is predicted of each network, and how."""
    networks_zoo, parts = population.zoo, population.parts
    try:
        if task == "label":
            labels = np.asarray(networks_zoo.labels)
            goal = learning.classes(labels, parts, label_smoothing=label_smoothing)
            return labels, goal
        if _METRIC not in networks_zoo.metrics:
            raise ValueError(
                f"there is no metric {_METRIC!r} to predict, only"
                f" {sorted(networks_zoo.metrics)}."
            )
        accuracies = np.asarray(networks_zoo.metrics[_METRIC])
        goal = learning.fractions(accuracies, parts, loss=loss, name=_METRIC)
        return accuracies, goal
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _make_job(
    population: populations.Population,
    _: pathlib.Path | None,
    *,
    make_goal: Any,
    **options: Any,
) -> learning.Job:
    return learning.predictor_job(
        population.zoo, population.parts, *make_goal(population), **options
    )


def _measure(
    trained: learning.TrainedPredictor,
    population: populations.Population,
    *,
    make_goal: Any,
    task: str,
    num_probe_networks: int,
    seed: int,
) -> tuple[harness.Results, harness.Arrays]:
    """Measure held-out and training networks, and twins and baselines beside them."""
    targets, goal = make_goal(population)
    test, train = population.part("test"), population.part("train", num_probe_networks)
    wanted, seen = (targets[population.parts[name]] for name in ("test", "train"))
    seen = seen[:num_probe_networks]
    outputs, spec = trained(test.params), population.network.spec
    of_train = goal.measures(trained(train.params), seen)
    twins = learning.random_twins(jax.random.key(seed), test.params, spec)
    of_twins = trained(twins)
    first, value = next(iter(goal.measures(of_twins, wanted).items()))
    change = np.abs(of_twins - outputs).max() / max(float(outputs.std()), 1e-12)
    if task == "accuracy":
        baselines = _classifier_measures.accuracy_baselines(train, test)
    else:
        baselines = _measures.probes(train, test, spec)
    results = {
        "task": task,
        **goal.measures(outputs, wanted),
        **{f"train_{name}": measure for name, measure in of_train.items()},
        f"{first}_of_twins": value,
        "twin_change": float(change),
        **baselines,
        "num_train": len(population.parts["train"]),
        "num_test": len(test),
        "num_parameters": _training.num_parameters(trained.variables),
        **trained.metadata,
    }
    predicted = goal.predictions(outputs)
    if task == "accuracy":
        return results, {"accuracies": np.stack([wanted, predicted])}
    counts = np.zeros((goal.num_outputs, goal.num_outputs), int)
    np.add.at(counts, (wanted, predicted), 1)
    return results | {"confusion": counts.tolist()}, {}


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw what is predicted against what is true, and the training."""
    if results["task"] == "label":
        best, label = "val/accuracy", "validation accuracy"
        counts = np.array(results["confusion"])
        figures = {"confusion": plots.confusion_matrix(counts)}
    else:
        best, label, figures = "val/tau", "validation tau", {}
        if "accuracies" in arrays:
            pairs = {"held-out networks": (*arrays["accuracies"],)}
            labels = ("test accuracy", "predicted from the weights")
            figures["accuracies"] = plots.versus(pairs, *labels)
    return figures | _training.curves(arrays, label=label, best=best, log_scale=False)


def tables(results: harness.Results) -> list[harness.Table]:
    """Return the results as a table whose caption explains them."""
    ours = {key: value for key, value in results.items() if key != "confusion"}
    return [harness.measures(_CAPTIONS[results["task"]], ours)]


EXPERIMENT = harness.Experiment(
    name="predict",
    defaults=default_config,
    plan=plan,
    run=_training.run,
    evaluate=_training.evaluate,
    many_processes=True,
    tables=tables,
    draw=draw,
    check_output=learning.load_predictor,
)
