"""How an experiment trains one model and measures it: the same for all that do."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness, populations
from symmerge_jax import autoencoders, learning, metanets, plots, training, zoo

_COUNTS = ("num_probe_networks", "num_orbits", "num_twins")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What an experiment trains and measures.

    Attributes:
      source: where the networks come from.
      make_job: `make_job(population, folder)` returns the training; figures that are
        drawn while it runs go to the folder, None for none.
      options: how it is trained.
      model: folder of the trained model, in that of the run.
      save: `save(path, model)` writes the trained model.
      load: `load(folder)` reads it again.
      measure: `measure(model, population)` returns the results, and the arrays of their
        figures.
    """

    source: populations.Source
    make_job: Callable[[populations.Population, pathlib.Path | None], learning.Job]
    options: learning.FitOptions
    model: str
    save: Callable[[pathlib.Path, Any], None]
    load: Callable[[pathlib.Path], Any]
    measure: Callable[
        [Any, populations.Population], tuple[harness.Results, harness.Arrays]
    ]

    def check(self) -> "Plan":
        """Return the plan, after all checks that need no networks to be made."""
        if (planned := self.source.planned) is not None:
            learning.check(self.make_job(planned, None), self.options)
        return self


def autoencoder_plan(
    config: harness.Config,
    source: populations.Source,
    make_job: Callable[..., learning.Job],
    measure: Callable[..., tuple[harness.Results, harness.Arrays]],
) -> Plan:
    """Return the plan of an autoencoder, after all checks.

    `make_job` is given the options of the model, `measure` the counts to measure on.
    """
    return Plan(
        source=source,
        make_job=functools.partial(
            make_job,
            encoder=encoder_options(config),
            decoder=config.decoder.to_dict(),
            augment=config.augment,
        ),
        options=fit_options(config, config.seed),
        model="canonicalizer",
        save=autoencoders.save_canonicalizer,
        load=autoencoders.load_canonicalizer,
        measure=functools.partial(measure, **{key: config[key] for key in _COUNTS}),
    ).check()


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Make the zoo, train, export the model, and measure it.

    Of many processes only the first one measures; the others return nothing.
    """
    population = plan.source.load(folder)
    with training.together():
        job = plan.make_job(population, folder)
    model = learning.fit(job, folder, plan.options)

    def finish() -> harness.Results:
        plan.save(folder / plan.model, model)
        return _measured(plan, plan.load(folder), population, folder)

    return training.on_first(finish) or {}


def evaluate(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Measure the trained model of a finished run again."""
    model = plan.load(folder)
    population = plan.source.load(folder)
    zoo.require_architecture(population.zoo, model.architecture)
    return _measured(plan, model, population, folder)


def _measured(plan: Plan, model, population, folder: pathlib.Path) -> harness.Results:
    """Measure a model; `results.npz` holds the arrays of the figures."""
    results, arrays = plan.measure(model, population)
    series = training.read_metrics(folder / "metrics.jsonl")
    curves = {f"curves/{name}": np.stack(values) for name, values in series.items()}
    harness.save_arrays(folder / "results.npz", {**arrays, **curves})
    return results


def fit_keys() -> dict[str, Any]:
    """Return the keys of `fit_options` with their defaults."""
    options = dataclasses.asdict(learning.FitOptions())
    del options["seed"]
    options |= {"batch_size": 64, "warmup_steps": 50}  # numbers, typed by their default
    return options | {"ema_decay": config_dict.placeholder(float)}


def fit_options(
    config: harness.Config, seed: int, prefix: str = "config"
) -> learning.FitOptions:
    """Return the options of a training; messages call the config by the prefix."""
    counts = ("batch_size", "log_every", "evaluate_every", "checkpoint_every")
    least = dict.fromkeys((*counts, "keep_checkpoints"), 1)
    harness.at_least(config, prefix, **least)
    return learning.FitOptions(**{key: config[key] for key in fit_keys()}, seed=seed)


def default_options() -> dict[str, Any]:
    """Return the keys of every experiment that trains an encoder, with their defaults.

    `encoder` and `decoder` are arguments of `autoencoders.build`; an encoder refuses
    the keys of the others. With `augment` it reads a new random twin of every network
    in every step: the alternative to an encoder that is invariant.
    """
    return {
        "zoo": config_dict.placeholder(str),
        "val_fraction": 0.05,
        "test_fraction": 0.1,
        "encoder": {
            "kind": "scale_gmn",
            "width": 64,
            "latent_size": config_dict.placeholder(int),
            "num_probes": 128,
            "scale_inputs": True,
            "input_value": 1.0,
            "num_layers": 4,
            "messages": "mlp",
            "symmetry": config_dict.placeholder(str),
            "io": "gated",
            "num_io_mlps": 1,
            "node_embedding": True,
            "edge_embedding": True,
            "skip": True,
            "dropout": 0.0,
            "aggregator": "sum",
            "readout": "full_graph",
            "symmetrize": True,
            "ablate_symmetry": False,
            "bidirectional": False,
            "norm_epsilon": 0.0,
            "unit_rows": True,
            "num_frequencies": 128,
            "frequency_scale": config_dict.placeholder(float),
            "norm": "graph",
            "num_heads": 8,
            "feature_size": config_dict.placeholder(int),
            "pool": "max",
            "max_fixed": 8,
            "faithful": False,
            "remat": False,
        },
        "decoder": dict(learning.DECODER),
        "augment": False,
        **fit_keys(),
        "num_probe_networks": 4000,
        "num_orbits": 16,
        "num_twins": 32,
    }


def encoder_options(config: harness.Config) -> dict[str, Any]:
    """Return the encoder as `autoencoders.build` takes it: the keys of its kind."""
    known = metanets.encoder_keys(config.encoder.kind)
    return {
        key: value
        for key, value in config.encoder.to_dict().items()
        if key in known and value is not None
    }


def check_encoder(config: harness.Config, defaults: harness.Config) -> None:
    """Refuse keys that the kind of encoder does not know, and an unknown kind."""
    kind = config.encoder.kind
    known = metanets.encoder_keys(kind)
    keys = [f"encoder.{key}" for key in defaults.encoder if key not in known]
    harness.refuse_unused(config, defaults, keys, f"encoder.kind={kind!r}")


def check_counts(config: harness.Config) -> None:
    """Refuse counts of the evaluation below 1."""
    names = [name for name in _COUNTS if name in config]
    harness.at_least(config, **dict.fromkeys(names, 1))


def num_parameters(variables: Any) -> int:
    """Return how many numbers a model has."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(variables))


def draw_curves(
    folder: pathlib.Path, *, label: str, best: str, log_scale: bool = True
) -> None:
    """Draw loss, the validation measure and the step size of a training."""
    series = training.read_metrics(folder / "metrics.jsonl")
    figure = _curves(series, label, best, log_scale)
    plots.save_figure(figure, folder / "curves")


def curves(
    arrays: harness.Arrays, *, label: str, best: str, log_scale: bool = True
) -> dict[str, Any]:
    """Return the figure of `draw_curves` from stored arrays, nothing without them."""
    found = harness.arrays_below(arrays, "curves/")
    series = {name: (*x,) for name, x in found.items()}
    if best not in series:
        return {}
    return {"curves": _curves(series, label, best, log_scale)}


def _curves(series: Any, label: str, best: str, log_scale: bool):
    panels = {"loss": ("loss",), label: (best,), "step size": ("lr",)}
    logarithmic = ("loss", label) if log_scale else ("loss",)
    return plots.training_curves(series, panels, log_scale=logarithmic)
