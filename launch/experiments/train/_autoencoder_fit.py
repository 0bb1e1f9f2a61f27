"""What all autoencoder experiments share: options, the training loop, the export."""

import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness
from symmerge_jax import autoencoders, deep_align, plots, symmetry, training, zoo
from symmerge_jax.typing import Key, Params

INTERVALS = ("log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints")

COUNTS = ("num_probe_networks", "num_orbits", "num_twins")
"""What the evaluation takes of the networks; experiments without it lack the keys."""


def default_options() -> dict[str, Any]:
    """Return the keys of every autoencoder experiment with their defaults.

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
        "decoder": {"hidden_multipliers": (4, 8), "head": "affine"},
        "num_steps": 1000,
        "batch_size": 64,
        "num_microbatches": 1,
        "augment": False,
        "parallel": "jit",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warmup_steps": 50,
        "weight_decay": 0.01,
        "clip_norm": 10.0,
        "amsgrad": False,
        "ema_decay": config_dict.placeholder(float),
        "log_every": 10,
        "evaluate_every": 100,
        "checkpoint_every": 100,
        "keep_checkpoints": 2,
        "num_probe_networks": 4000,
        "num_orbits": 16,
        "num_twins": 32,
    }


def refuse_unused_encoder(config: harness.Config, defaults: harness.Config) -> None:
    """Refuse keys that the kind of encoder does not know.

    Raises:
      ValueError: naming them, or for an unknown kind.
    """
    kind = config.encoder.kind
    known = autoencoders.encoder_keys(kind)
    keys = [f"encoder.{key}" for key in defaults.encoder if key not in known]
    harness.refuse_unused(config, defaults, keys, f"encoder.kind={kind!r}")


def descriptions(config: harness.Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return encoder and decoder as `autoencoders.build` takes them."""
    return encoder_description(config), config.decoder.to_dict()


def encoder_description(config: harness.Config) -> dict[str, Any]:
    """Return the encoder as `autoencoders.build_encoder` takes it."""
    known = autoencoders.encoder_keys(config.encoder.kind)
    return {
        key: value
        for key, value in config.encoder.to_dict().items()
        if key in known and value is not None
    }


def encoder_input(
    config: harness.Config, spec: symmetry.SymmetrySpec, batch: Params, key: Key
) -> Params:
    """Return what the encoder reads in training: `batch`, or with `augment` twins.

    Args:
      config: keys of `default_options`.
      spec: symmetry of the networks.
      batch: `[N]` networks.
      key: random key of the step.
    """
    return random_twins(key, batch, spec) if config.augment else batch


def random_twins(key: Key, batch: Params, spec: symmetry.SymmetrySpec) -> Params:
    """Return a random twin of each of `[N]` networks."""
    keys = jax.random.split(key, len(jax.tree.leaves(batch)[0]))

    def twin(key, params):
        twins = symmetry.sample_orbit(key, params, spec, 1)
        return jax.tree.map(lambda x: x[0], twins)

    return jax.vmap(twin)(keys, batch)


def make_step(config: harness.Config, loss_fn, mesh):
    """Return the optimizer of a config and its training step for a loss."""
    optimizer, schedule_fn = training.make_optimizer(
        config.learning_rate,
        config.num_steps,
        config.warmup_steps,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        amsgrad=config.amsgrad,
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
    config: harness.Config, model: autoencoders.Autoencoder, num_train: int, mesh
) -> None:
    """Raise what a run would raise on its first step, without computing anything."""
    check_run(config, num_train, mesh)
    key = jax.random.key(0)
    variables = jax.eval_shape(model.init, key)
    one = jax.eval_shape(model.network.init, key)
    jax.eval_shape(
        model.decode, variables, jax.eval_shape(model.encode, variables, one)
    )


def check_counts(config: harness.Config, prefix: str = "config") -> None:
    """Refuse batches, intervals and counts of the evaluation below 1.

    Args:
      config: keys of `default_options`; those of the evaluation may be missing.
      prefix: how messages name the config: a group of a larger one has its key in it.

    Raises:
      ValueError: names the key.
    """
    names = [x for x in ("batch_size", *INTERVALS, *COUNTS) if x in config]
    harness.at_least(config, prefix, **dict.fromkeys(names, 1))


def check_run(
    config: harness.Config, num_train: int, mesh, prefix: str = "config"
) -> None:
    """Refuse counts below 1, and batches that the networks or devices do not fit."""
    check_counts(config, prefix)
    rows = zoo.batch_indices(config.seed, 0, config.batch_size, num_train)
    training.check_batch({"rows": rows}, mesh.size, config.num_microbatches)


def fit(
    config: harness.Config,
    model: autoencoders.Autoencoder | autoencoders.Predictor | deep_align.Matcher,
    optimizer: Any,
    step_fn: Callable[..., Any],
    batch_fn: Callable[[int], Any],
    evaluator: Callable[[training.TrainState], Iterator[tuple[str, Any]]],
    folder: pathlib.Path,
    mesh: Any,
    *,
    best: str,
    mode: Literal["min", "max"] = "min",
) -> None:
    """Train, or go on with what a run left; checkpoints and metrics go to its folder.

    Args:
      config: keys of `default_options`, and `seed`.
      model: what is trained.
      optimizer: from `make_step`.
      step_fn: from `make_step`.
      batch_fn: from the number of a step to its batch.
      evaluator: measures on validation networks.
      folder: of the run.
      mesh: devices.
      best: the measure, as `val/mse`, by which the best checkpoint is kept.
      mode: whether its smallest ("min") or largest ("max") value is the best.
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
                training.keep_best(folder / "checkpoints/best", best, mode=mode),
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
    config: harness.Config,
    architecture: Any,
    statistics: autoencoders.Statistics,
    folder: pathlib.Path,
    *,
    best: str,
) -> None:
    """Write the best checkpoint of a run as a canonicaliser."""
    variables, metadata = load_best(config, folder, best=best)
    encoder, decoder = descriptions(config)
    autoencoders.save_canonicalizer(
        folder / "canonicalizer",
        autoencoders.Canonicalizer(
            architecture=architecture,
            encoder=encoder,
            decoder=decoder,
            statistics=statistics,
            variables=variables,
            metadata=metadata,
        ),
    )


def check_output(workdir: str | os.PathLike) -> None:
    """Refuse a finished run whose canonicaliser cannot be loaded.

    Args:
      workdir: folder of the run; running it again exports the canonicaliser again.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged.
    """
    autoencoders.load_canonicalizer(workdir)


def load_best(
    config: harness.Config, folder: pathlib.Path, *, best: str
) -> tuple[Any, dict[str, Any]]:
    """Return the best variables of a run, and what is known of them.

    Returns:
      The variables; `num_steps`, `best_step`, the best measure, as `val_mse`, and the
      median `seconds_per_step`.

    Raises:
      FileNotFoundError: if the run has no checkpoint.
    """
    variables, metadata = training.load_params(folder / "checkpoints/best")
    series = training.read_metrics(folder / "metrics.jsonl")
    seconds = {}
    if "seconds_per_step" in series:  # the first step, which compiles, has none
        values = series["seconds_per_step"].values
        seconds["seconds_per_step"] = float(np.median(values))
    return variables, {
        "num_steps": config.num_steps,
        "best_step": metadata["best"]["step"],
        best.replace("/", "_"): metadata["best"]["value"],
        **seconds,
    }


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


def draw_curves(
    folder: pathlib.Path, *, label: str, best: str, log_scale: bool = True
) -> None:
    """Draw loss, the validation measure and the step size of a run."""
    series = training.read_metrics(folder / "metrics.jsonl")
    panels = {"loss": ("loss",), label: (best,), "step size": ("lr",)}
    logarithmic = ("loss", label) if log_scale else ("loss",)
    figure = plots.training_curves(series, panels, log_scale=logarithmic)
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
