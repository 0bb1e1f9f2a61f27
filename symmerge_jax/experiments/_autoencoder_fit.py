"""What all autoencoder experiments share: options, the training loop, the export."""

import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from symmerge_jax import autoencoders, plots, training, zoo
from symmerge_jax.experiments import _config, _unused

PROBE_KEYS = ("kind", "width", "latent_size", "num_probes")
"""What describes an encoder that reads outputs only."""

INTERVALS = ("log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints")


def default_options() -> dict[str, Any]:
    """Return the keys of every autoencoder experiment with their defaults.

    `encoder` and `decoder` are arguments of `autoencoders.build`.
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
            "remat": False,
        },
        "decoder": {"hidden_multipliers": (4, 8), "head": "affine"},
        "num_steps": 1000,
        "batch_size": 64,
        "num_microbatches": 1,
        "parallel": "jit",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warmup_steps": 50,
        "weight_decay": 0.01,
        "clip_norm": 10.0,
        "ema_decay": config_dict.placeholder(float),
        "log_every": 10,
        "evaluate_every": 100,
        "checkpoint_every": 100,
        "keep_checkpoints": 2,
        "num_probe_networks": 4000,
        "num_orbits": 16,
        "num_twins": 32,
    }


def refuse_unused_encoder(config: _config.Config, defaults: _config.Config) -> None:
    """Refuse keys of an encoder that reads outputs only and does not know them."""
    if config.encoder.kind == "probe":
        keys = [f"encoder.{k}" for k in defaults.encoder if k not in PROBE_KEYS]
        _unused.refuse_unused(config, defaults, keys, "encoder.kind='probe'")


def descriptions(config: _config.Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return encoder and decoder as `autoencoders.build` takes them."""
    encoder, decoder = config.encoder.to_dict(), config.decoder.to_dict()
    if encoder["kind"] == "probe":
        encoder = {key: encoder[key] for key in PROBE_KEYS}
    return encoder, decoder


def make_step(config: _config.Config, loss_fn, mesh):
    """Return the optimizer of a config and its training step for a loss."""
    optimizer, schedule_fn = training.make_optimizer(
        config.learning_rate,
        config.num_steps,
        config.warmup_steps,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    step_fn = training.make_train_step(
        loss_fn,
        optimizer,
        schedule_fn=schedule_fn,
        mesh=mesh,
        num_microbatches=config.num_microbatches,
        ema_decay=config.ema_decay,
        parallel=config.parallel,
    )
    return optimizer, step_fn


def check_step(
    config: _config.Config, model: autoencoders.Autoencoder, num_train: int, mesh
) -> None:
    """Raise what a run would raise on its first step, without computing anything."""
    for name in INTERVALS:
        if config[name] < 1:
            raise ValueError(f"config.{name} must be >= 1, got {config[name]}.")
    rows = zoo.batch_indices(config.seed, 0, config.batch_size, num_train)
    training.check_batch({"rows": rows}, mesh.size, config.num_microbatches)
    key = jax.random.key(0)
    variables = jax.eval_shape(model.init, key)
    one = jax.eval_shape(model.network.init, key)
    jax.eval_shape(
        model.decode, variables, jax.eval_shape(model.encode, variables, one)
    )


def fit(
    config: _config.Config,
    model: autoencoders.Autoencoder,
    optimizer: Any,
    step_fn: Callable[..., Any],
    batch_fn: Callable[[int], Any],
    evaluator: Callable[[training.TrainState], Iterator[tuple[str, Any]]],
    folder: pathlib.Path,
    mesh: Any,
    *,
    best: str,
) -> None:
    """Train, or go on with what a run left; checkpoints and metrics go to its folder.

    Args:
      config: keys of `default_options`, and `seed`.
      model: the autoencoder.
      optimizer: from `make_step`.
      step_fn: from `make_step`.
      batch_fn: from the number of a step to its batch.
      evaluator: measures on validation networks.
      folder: of the run.
      mesh: devices.
      best: the measure, as `val/mse`, by which the best checkpoint is kept.
    """
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    state = training.init_state(
        train_key,
        jax.jit(model.init)(init_key),
        optimizer,
        ema=config.ema_decay is not None,
        mesh=mesh,
    )
    latest, log = folder / "checkpoints/latest", folder / "metrics.jsonl"
    if training.checkpoint_steps(latest):
        state, _ = training.restore_checkpoint(latest, state)
    training.truncate_metrics(log, int(state.step))
    hooks = [
        training.log_hook(log, config.log_every),
        training.evaluation_hook(
            {"val": evaluator},
            config.evaluate_every,
            results=(
                training.write_results(log),
                training.keep_best(folder / "checkpoints/best", best),
            ),
        ),
        training.checkpoint_hook(
            latest, config.checkpoint_every, keep=config.keep_checkpoints
        ),
    ]
    with training.Progress(
        config.num_steps, "train", initial=int(state.step)
    ) as progress:
        training.train(
            state,
            step_fn,
            batch_fn,
            num_steps=config.num_steps,
            hooks=[training.progress_hook(progress), *hooks],
        )


def export(
    config: _config.Config,
    architecture: Any,
    statistics: autoencoders.Statistics,
    folder: pathlib.Path,
    *,
    best: str,
) -> None:
    """Write the best checkpoint of a run as a canonicaliser."""
    variables, metadata = training.load_params(folder / "checkpoints/best")
    series = training.read_metrics(folder / "metrics.jsonl")
    seconds = {}
    if "seconds_per_step" in series:  # the first step, which compiles, has none
        values = series["seconds_per_step"].values
        seconds["seconds_per_step"] = float(np.median(values))
    encoder, decoder = descriptions(config)
    autoencoders.save_canonicalizer(
        folder / "canonicalizer",
        autoencoders.Canonicalizer(
            architecture=architecture,
            encoder=encoder,
            decoder=decoder,
            statistics=statistics,
            variables=variables,
            metadata={
                "num_steps": config.num_steps,
                "best_step": metadata["best"]["step"],
                best.replace("/", "_"): metadata["best"]["value"],
                **seconds,
            },
        ),
    )


def sizes_and_speed(
    canonicalizer: autoencoders.Canonicalizer, num_train: int, test: zoo.Zoo
) -> dict[str, Any]:
    """Return sizes, networks encoded per second, and what the export has recorded."""
    canonicalizer.encode(test.params)  # compiles where no measure before did
    start = time.perf_counter()
    canonicalizer.encode(test.params)
    seconds = time.perf_counter() - start
    weights = jax.tree.leaves(canonicalizer.variables)
    return {
        "num_train": num_train,
        "num_test": len(test),
        "num_parameters": sum(int(np.size(x)) for x in weights),
        "encoded_per_second": len(test) / seconds,
        **canonicalizer.metadata,
    }


def draw_curves(folder: pathlib.Path, *, label: str, best: str) -> None:
    """Draw loss, the validation measure and the step size of a run."""
    series = training.read_metrics(folder / "metrics.jsonl")
    panels = {"loss": ("loss",), label: (best,), "step size": ("lr",)}
    figure = plots.training_curves(series, panels, log_scale=("loss", label))
    plots.save_figure(figure, folder / "curves")


def table(results: dict[str, Any]) -> str:
    """Return results as lines of text."""
    width = max(len(name) for name in results)
    return "\n".join(
        f"{name:<{width}}  {value:.5g}"
        if isinstance(value, float)
        else f"{name:<{width}}  {value}"
        for name, value in results.items()
    )
