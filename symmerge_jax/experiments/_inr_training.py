"""The parts of the training of an autoencoder of INRs: model, loss, batches, step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import autoencoders, symmetry, training, zoo
from symmerge_jax.experiments import (
    _autoencoder_fit,
    _checks,
    _config,
    _inr_data,
    _unused,
)

LOSSES = ("function", "weights")
"""What may be compared: renderings, or (an ablation) weights in canonical form."""


def check_unused(config: _config.Config, defaults: _config.Config) -> None:
    """Refuse keys that were set although the encoder or the loss does not read them."""
    _autoencoder_fit.refuse_unused_encoder(config, defaults)
    if config.loss == "weights":
        keys = ("num_points", "pixel_expansion")
        _unused.refuse_unused(config, defaults, keys, "loss='weights'")


def make_model(
    config: _config.Config, data: _inr_data.InrData
) -> autoencoders.Autoencoder:
    """Return the autoencoder that the config describes, for these networks."""
    return autoencoders.build(
        data.zoo.architecture,
        *_autoencoder_fit.descriptions(config),
        data.statistics,
    )


def check_step(config, data, mesh) -> None:
    """Raise what a run would raise on its first step, without computing anything."""
    model = make_model(config, data)
    _autoencoder_fit.make_step(config, make_loss(config, model, data), mesh)
    _autoencoder_fit.check_step(config, model, len(data.parts["train"]), mesh)


def make_loss(config, model, data):
    """Return `loss_fn(variables, batch, key)` after checking its options."""
    if config.loss not in LOSSES:
        raise ValueError(f"config.loss is {config.loss!r}, known are {LOSSES}.")
    _checks.at_least(config, pixel_expansion=1)
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
        read = _autoencoder_fit.encoder_input(
            config, model.network.spec, batch["params"], jax.random.fold_in(key, 2)
        )
        decoded = model.decode(variables, model.encode(variables, read, active))
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


def make_batches(config, model, data):
    """Return the batch of a step: weights, and renderings that are made once."""
    train = zoo.select(data.zoo, data.parts["train"])
    examples: dict[str, Any] = {"params": train.params}
    if config.loss == "function":
        grid = _inr_data.coordinates(data, config.pixel_expansion)
        examples["targets"] = _inr_data.render_all(model.network, train.params, grid)

    def batch_fn(step: int):
        rows = zoo.batch_indices(config.seed, step, config.batch_size, len(train))
        return jax.tree.map(lambda x: x[rows], examples)

    return batch_fn


def make_evaluator(config, model, data):
    """Return the error on the validation networks as a function of the state."""
    val = zoo.select(data.zoo, data.parts["val"])
    grid = _inr_data.coordinates(data, 1)
    targets = _inr_data.render_all(model.network, val.params, grid)

    @jax.jit
    def errors(variables, batch):
        decoded = model.reconstruct(variables, batch["params"])
        outputs = autoencoders.render(model.network, decoded, grid)
        return autoencoders.functional_loss(outputs, batch["targets"])

    def evaluator(state):
        run = functools.partial(errors, training.eval_params(state))
        batch = {"params": val.params, "targets": targets}
        squared = autoencoders.map_batches(run, batch, 64)
        yield "mse", np.mean(squared)
        yield "psnr", np.mean(autoencoders.psnr(squared))

    return evaluator
