"""Train an autoencoder of INRs and measure it: the main experiment.

Boufalis et al. 2025, arXiv 2511.12601, section 5.1: the decoded network has to render
what the original renders. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the error on validation networks
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json                 measures on held-out networks
    reconstructions.png, curves.png
"""

import os
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from symmerge_jax import autoencoders, plots, symmetry, training, zoo
from symmerge_jax.experiments import (
    _config,
    _inr_data,
    _inr_evaluation,
    _workdir,
    make_zoo,
)

LOSSES = ("function", "weights")
"""What may be compared: renderings, or (an ablation) weights in canonical form."""


def default_config() -> _config.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_zoo.default_config` describe the zoo that is made if `zoo` names
    none. `encoder` and `decoder` are arguments of `autoencoders.build`.
    """
    config = make_zoo.default_config()
    config.update(
        {
            "experiment": "autoencode",
            "zoo": config_dict.placeholder(str),
            "image_size": 28,
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
                "remat": False,
            },
            "decoder": {"hidden_multipliers": (4, 8), "head": "affine"},
            "loss": "function",
            "num_points": config_dict.placeholder(int),
            "pixel_expansion": 1,
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
    )
    return config


def run(config: _config.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Make the zoo, train, export the canonicaliser, and evaluate it.

    A run that was stopped goes on where it was.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      The results of `evaluate`.

    Raises:
      ValueError: unknown keys, values or data that do not fit, a workdir of another
        config.
      FileNotFoundError: missing images or zoo.
      FloatingPointError: a loss that is not finite; names the step.
    """
    config = _config.check_config(config, default_config())
    if config.loss not in LOSSES:
        raise ValueError(f"config.loss is {config.loss!r}, known are {LOSSES}.")
    if config.pixel_expansion < 1:
        raise ValueError(
            f"config.pixel_expansion must be >= 1, got {config.pixel_expansion}."
        )
    folder = _workdir.open_workdir(workdir, config)
    data = _inr_data.load(config, folder)
    model = _model(config, data)
    loss_fn = _loss_fn(config, model, data)

    mesh = training.make_mesh()
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
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    state = training.init_state(
        train_key,
        jax.jit(model.init)(init_key),
        optimizer,
        ema=config.ema_decay is not None,
        mesh=mesh,
    )
    latest, best = folder / "checkpoints/latest", folder / "checkpoints/best"
    if training.checkpoint_steps(latest):
        state, _ = training.restore_checkpoint(latest, state)
    training.truncate_metrics(folder / "metrics.jsonl", int(state.step))

    hooks = [
        training.log_hook(folder / "metrics.jsonl", config.log_every),
        training.evaluation_hook(
            {"val": _evaluator(config, model, data)},
            config.evaluate_every,
            results=(
                training.write_results(folder / "metrics.jsonl"),
                training.keep_best(best, "val/mse"),
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
            _batch_fn(config, model, data),
            num_steps=config.num_steps,
            hooks=[training.progress_hook(progress), *hooks],
        )
    _export(config, data, best, folder)
    return evaluate(folder)


def evaluate(workdir: str | os.PathLike) -> dict[str, Any]:
    """Measure the trained autoencoder of a workdir on its held-out networks.

    Args:
      workdir: folder of a finished run.

    Returns:
      The measures, which `results.json` also holds: those of `_inr_evaluation`, times
      and sizes. Draws `reconstructions.png` and `curves.png`.

    Raises:
      FileNotFoundError: if the run has not finished.
      ValueError: if a file of the run is damaged.
    """
    folder = pathlib.Path(workdir)
    canonicalizer = autoencoders.load_canonicalizer(folder)
    saved = _config.load_config(folder / "config.json")
    config: _config.Config = _config.check_config(saved, default_config())
    data = _inr_data.load(config, folder)
    zoo.require_architecture(data.zoo, canonicalizer.architecture)
    test = zoo.select(data.zoo, data.parts["test"])
    train = zoo.select(data.zoo, data.parts["train"][: config.num_probe_networks])

    grid = _inr_data.coordinates(data, 1)
    measures, originals, reconstructions = _inr_evaluation.reconstruction(
        canonicalizer, test, grid, compare_with_images=True
    )
    few = jax.tree.map(lambda x: x[: config.num_orbits], test.params)
    spread = _inr_evaluation.orbit_spread(canonicalizer, few, config.num_twins)
    accuracies = _inr_evaluation.probes(canonicalizer, train, test)
    canonicalizer.encode(test.params)  # compiles where the measures above did not
    start = time.perf_counter()
    canonicalizer.encode(test.params)
    seconds = time.perf_counter() - start
    results = {
        **measures,
        **spread,
        **accuracies,
        "num_train": len(data.parts["train"]),
        "num_test": len(test),
        "num_parameters": sum(
            int(np.size(x)) for x in jax.tree.leaves(canonicalizer.variables)
        ),
        "encoded_per_second": len(test) / seconds,
        **canonicalizer.metadata,
    }
    _config.write_json(folder / "results.json", results)
    shape = (-1, data.height, data.width)
    plots.save_figure(
        plots.image_rows(
            [originals[:10].reshape(shape), reconstructions[:10].reshape(shape)],
            ["original", "decoded"],
        ),
        folder / "reconstructions.png",
    )
    series = training.read_metrics(folder / "metrics.jsonl")
    panels = {"loss": ("loss",), "validation MSE": ("val/mse",), "step size": ("lr",)}
    plots.save_figure(
        plots.training_curves(series, panels, log_scale=("loss", "validation MSE")),
        folder / "curves.png",
    )
    return results


def table(results: dict[str, Any]) -> str:
    """Return the results of `evaluate` as lines of text."""
    width = max(len(name) for name in results)
    return "\n".join(
        f"{name:<{width}}  {value:.5g}"
        if isinstance(value, float)
        else f"{name:<{width}}  {value}"
        for name, value in results.items()
    )


def _descriptions(config: _config.Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return encoder and decoder as `autoencoders.build` takes them."""
    encoder, decoder = config.encoder.to_dict(), config.decoder.to_dict()
    if encoder["kind"] == "probe":
        encoder = {
            k: encoder[k] for k in ("kind", "width", "latent_size", "num_probes")
        }
    return encoder, decoder


def _model(config: _config.Config, data: _inr_data.InrData) -> autoencoders.Autoencoder:
    return autoencoders.build(
        data.zoo.architecture, *_descriptions(config), data.statistics
    )


def _loss_fn(config, model, data):
    grid = jnp.asarray(_inr_data.coordinates(data, config.pixel_expansion))
    num_points = config.num_points
    if num_points is not None and not 1 <= num_points <= len(grid):
        raise ValueError(
            f"config.num_points is {num_points}, it must lie in 1..{len(grid)}, the"
            " number of pixels, or be None for all of them."
        )
    stds = symmetry.unflatten(
        {path: std or 1.0 for path, (_, std) in data.statistics.items()}
    )

    def loss_fn(variables, batch, key):
        dropout_key, point_key = jax.random.split(key)
        active = dropout_key if config.encoder.dropout else None
        decoded = model.decode(
            variables, model.encode(variables, batch["params"], active)
        )
        if config.loss == "weights":
            losses = autoencoders.weight_loss(
                decoded, batch["params"], model.network.spec, stds
            )
            return jnp.mean(losses), {}
        points, targets = grid, batch["targets"]
        if num_points is not None:
            chosen = jax.random.choice(
                point_key, len(grid), (num_points,), replace=False
            )
            points, targets = grid[chosen], targets[:, chosen]
        outputs = autoencoders.render(model.network, decoded, points)
        return jnp.mean(autoencoders.functional_loss(outputs, targets)), {}

    return loss_fn


def _batch_fn(config, model, data):
    """Return the batch of a step: weights, and renderings that are made once."""
    train = zoo.select(data.zoo, data.parts["train"])
    targets = _inr_data.render_all(
        model.network, train, _inr_data.coordinates(data, config.pixel_expansion)
    )
    zoo.batch_indices(config.seed, 0, config.batch_size, len(train))  # refuse early

    def batch_fn(step: int):
        rows = zoo.batch_indices(config.seed, step, config.batch_size, len(train))
        params = jax.tree.map(lambda x: x[rows], train.params)
        return {"params": params, "targets": targets[rows]}

    return batch_fn


def _evaluator(config, model, data):
    """Return the error on the validation networks as a function of the state."""
    val = zoo.select(data.zoo, data.parts["val"])
    grid = _inr_data.coordinates(data, 1)
    targets = _inr_data.render_all(model.network, val, grid)
    size = min(64, len(val))

    @jax.jit
    def errors(variables, params, targets):
        decoded = model.reconstruct(variables, params)
        outputs = autoencoders.render(model.network, decoded, grid)
        return autoencoders.functional_loss(outputs, targets)

    def evaluator(state):
        variables, found = training.eval_params(state), []
        for start in range(0, len(val), size):
            first = min(start, len(val) - size)
            rows = slice(first, first + size)
            part = jax.tree.map(lambda x, rows=rows: x[rows], val.params)
            found.append(errors(variables, part, targets[rows])[start - first :])
        squared = jnp.concatenate(found)
        yield "mse", jnp.mean(squared)
        yield "psnr", jnp.mean(autoencoders.psnr(squared))

    return evaluator


def _export(config, data, best: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the best checkpoint as a canonicaliser."""
    variables, metadata = training.load_params(best)
    series = training.read_metrics(folder / "metrics.jsonl")
    seconds = {}
    if "seconds_per_step" in series:  # the first step, which compiles, has none
        values = series["seconds_per_step"].values
        seconds["seconds_per_step"] = float(np.median(values))
    encoder, decoder = _descriptions(config)
    autoencoders.save_canonicalizer(
        folder / "canonicalizer",
        autoencoders.Canonicalizer(
            architecture=data.zoo.architecture,
            encoder=encoder,
            decoder=decoder,
            statistics=data.statistics,
            variables=variables,
            metadata={
                "num_steps": config.num_steps,
                "best_step": metadata["best"]["step"],
                "val_mse": metadata["best"]["value"],
                **seconds,
            },
        ),
    )
