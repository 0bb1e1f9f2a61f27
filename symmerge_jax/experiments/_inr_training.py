"""The parts of the training of an autoencoder of INRs: model, loss, batches, step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import autoencoders, symmetry, training, zoo
from symmerge_jax.experiments import _config, _inr_data, _unused

LOSSES = ("function", "weights")
"""What may be compared: renderings, or (an ablation) weights in canonical form."""

PROBE_KEYS = ("kind", "width", "latent_size", "num_probes")
"""What describes an encoder that reads outputs only."""


def check_unused(config: _config.Config, defaults: _config.Config) -> None:
    """Refuse keys that were set although the encoder or the loss does not read them."""
    if config.encoder.kind == "probe":
        keys = [f"encoder.{k}" for k in defaults.encoder if k not in PROBE_KEYS]
        _unused.refuse_unused(config, defaults, keys, "encoder.kind='probe'")
    if config.loss == "weights":
        keys = ("num_points", "pixel_expansion")
        _unused.refuse_unused(config, defaults, keys, "loss='weights'")


def descriptions(config: _config.Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return encoder and decoder as `autoencoders.build` takes them."""
    encoder, decoder = config.encoder.to_dict(), config.decoder.to_dict()
    if encoder["kind"] == "probe":
        encoder = {key: encoder[key] for key in PROBE_KEYS}
    return encoder, decoder


def make_model(
    config: _config.Config, data: _inr_data.InrData
) -> autoencoders.Autoencoder:
    """Return the autoencoder that the config describes, for these networks."""
    return autoencoders.build(
        data.zoo.architecture, *descriptions(config), data.statistics
    )


def make_step(config, data, mesh):
    """Return the model, its optimizer and its training step."""
    model = make_model(config, data)
    optimizer, schedule_fn = training.make_optimizer(
        config.learning_rate,
        config.num_steps,
        config.warmup_steps,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    step_fn = training.make_train_step(
        make_loss(config, model, data),
        optimizer,
        schedule_fn=schedule_fn,
        mesh=mesh,
        num_microbatches=config.num_microbatches,
        ema_decay=config.ema_decay,
        parallel=config.parallel,
    )
    return model, optimizer, step_fn


def check_step(config, data, mesh) -> None:
    """Raise what a run would raise on its first step, without computing anything."""
    for name in ("log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints"):
        if config[name] < 1:
            raise ValueError(f"config.{name} must be >= 1, got {config[name]}.")
    model, _, _ = make_step(config, data, mesh)
    num_train = len(data.parts["train"])
    rows = zoo.batch_indices(config.seed, 0, config.batch_size, num_train)
    training.check_batch({"rows": rows}, mesh.size, config.num_microbatches)
    key = jax.random.key(0)
    variables = jax.eval_shape(model.init, key)
    one = jax.eval_shape(model.network.init, key)
    jax.eval_shape(
        model.decode, variables, jax.eval_shape(model.encode, variables, one)
    )


def make_loss(config, model, data):
    """Return `loss_fn(variables, batch, key)` after checking its options."""
    if config.loss not in LOSSES:
        raise ValueError(f"config.loss is {config.loss!r}, known are {LOSSES}.")
    if config.pixel_expansion < 1:
        raise ValueError(
            f"config.pixel_expansion must be >= 1, got {config.pixel_expansion}."
        )
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
