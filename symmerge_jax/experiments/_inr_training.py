"""The parts of the training of an autoencoder of INRs: model, loss, batches, step."""

from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import autoencoders, symmetry, training, zoo
from symmerge_jax.experiments import _config, _inr_data

LOSSES = ("function", "weights")
"""What may be compared: renderings, or (an ablation) weights in canonical form."""


def descriptions(config: _config.Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return encoder and decoder as `autoencoders.build` takes them."""
    encoder, decoder = config.encoder.to_dict(), config.decoder.to_dict()
    if encoder["kind"] == "probe":
        encoder = {
            k: encoder[k] for k in ("kind", "width", "latent_size", "num_probes")
        }
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
    targets = _inr_data.render_all(
        model.network, train, _inr_data.coordinates(data, config.pixel_expansion)
    )

    def batch_fn(step: int):
        rows = zoo.batch_indices(config.seed, step, config.batch_size, len(train))
        params = jax.tree.map(lambda x: x[rows], train.params)
        return {"params": params, "targets": targets[rows]}

    return batch_fn


def make_evaluator(config, model, data):
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
