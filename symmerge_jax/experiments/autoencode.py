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
import numpy as np
from ml_collections import config_dict

from symmerge_jax import autoencoders, plots, training, zoo
from symmerge_jax.experiments import (
    _config,
    _inr_data,
    _inr_evaluation,
    _inr_training,
    _workdir,
    make_zoo,
)


def default_config() -> _config.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_zoo.default_config` describe the zoo that is made if `zoo` names
    none; beside a zoo they may be left away, or say how it was made. `encoder` and
    `decoder` are arguments of `autoencoders.build`.
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
                "norm_epsilon": 0.0,
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
      ValueError: unknown keys, values or data that do not fit, keys that others make
        mean nothing, a workdir of another config.
      FileNotFoundError: missing images or zoo.
      FloatingPointError: a loss that is not finite; names the step.
    """
    config = _config.check_config(config, default_config())
    _inr_training.check_unused(config, default_config())
    mesh = training.make_mesh()
    if (planned := _inr_data.plan(config)) is not None:
        _inr_training.check_step(config, planned, mesh)
    folder = _workdir.open_workdir(workdir, config)
    data = _inr_data.load(config, folder)
    model, optimizer, step_fn = _inr_training.make_step(config, data, mesh)

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
            {"val": _inr_training.make_evaluator(config, model, data)},
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
            _inr_training.make_batches(config, model, data),
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
    measures, originals, decoded = _inr_evaluation.reconstruct(
        canonicalizer, test, grid
    )
    ablations = _inr_evaluation.without_parts(canonicalizer, test, grid, originals)
    few = jax.tree.map(lambda x: x[: config.num_orbits], test.params)
    spread = _inr_evaluation.orbit_spread(canonicalizer, few, config.num_twins)
    accuracies = _inr_evaluation.probes(canonicalizer, train, test)
    canonicalizer.encode(test.params)  # compiles where the measures above did not
    start = time.perf_counter()
    canonicalizer.encode(test.params)
    seconds = time.perf_counter() - start
    results = {
        **measures,
        **ablations,
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
            [originals[:10].reshape(shape), decoded[:10].reshape(shape)],
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


def _export(config, data, best: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the best checkpoint as a canonicaliser."""
    variables, metadata = training.load_params(best)
    series = training.read_metrics(folder / "metrics.jsonl")
    seconds = {}
    if "seconds_per_step" in series:  # the first step, which compiles, has none
        values = series["seconds_per_step"].values
        seconds["seconds_per_step"] = float(np.median(values))
    encoder, decoder = _inr_training.descriptions(config)
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
