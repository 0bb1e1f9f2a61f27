"""The parts of the training of an autoencoder of INRs: model, loss, batches, step."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.populations import _inr_data
from experiments.train import _autoencoder_fit, _inr_evaluation
from symmerge_jax import autoencoders, plots, symmetry, training, zoo

LOSSES = ("function", "weights")
"""What may be compared: renderings, or (an ablation) weights in canonical form."""

_NUM_ORBITS, _NUM_TWINS = 4, 8
"""Of how many validation networks twins are compared while it trains, and how many."""


def check_unused(config: harness.Config, defaults: harness.Config) -> None:
    """Refuse keys that were set although the encoder or the loss does not read them."""
    _autoencoder_fit.refuse_unused_encoder(config, defaults)
    if config.loss == "weights":
        keys = ("num_points", "pixel_expansion")
        harness.refuse_unused(config, defaults, keys, "loss='weights'")


def make_model(
    config: harness.Config, data: _inr_data.InrData
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
    harness.at_least(config, pixel_expansion=1)
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
        read = _autoencoder_fit.encoder_input(
            config, model.network.spec, batch["params"], jax.random.fold_in(key, 2)
        )
        decoded = model.decode(variables, model.encode(variables, read, dropout_key))
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


def make_evaluator(config, model, data, folder: pathlib.Path):
    """Return what is measured on the validation networks, as a function of the state.

    Yields the error, and the largest relative distance of the latent of a twin from the
    mean of its orbit; draws some of the networks above their reconstructions as
    `reconstructions.png` into the folder.
    """
    val = zoo.select(data.zoo, data.parts["val"])
    grid = _inr_data.coordinates(data, 1)
    few = jax.tree.map(lambda x: x[:_NUM_ORBITS], val.params)
    twins = _inr_evaluation.random_orbits(few, model.network.spec, _NUM_TWINS)
    params = jax.tree.map(lambda *x: np.concatenate(x), dict(val.params), twins)
    targets = _inr_data.render_all(model.network, params, grid)

    @jax.jit
    def decode(variables, batch):
        latents = model.encode(variables, batch["params"])
        decoded = model.decode(variables, latents)
        outputs = autoencoders.render(model.network, decoded, grid)
        error = autoencoders.functional_loss(outputs, batch["targets"])
        return {"latents": latents, "outputs": outputs, "error": error}

    def evaluator(state):
        run = functools.partial(decode, training.eval_params(state))
        batch = {"params": params, "targets": targets}
        found = autoencoders.map_batches(run, batch, 64)
        error = found["error"][: len(val)]
        yield "mse", np.mean(error)
        yield "psnr", np.mean(autoencoders.psnr(error))
        latents = found["latents"][len(val) :]
        orbits = latents.reshape(-1, _NUM_TWINS, latents.shape[-1])
        yield "orbit_spread", np.max(_inr_evaluation.relative_spread(orbits))
        shown = [x[: min(10, len(val))] for x in (targets, found["outputs"])]
        images = [x.reshape(-1, data.height, data.width) for x in shown]
        labels = ["original", f"step {int(state.step)}"]
        figure = plots.image_rows(images, labels)
        plots.save_figure(figure, folder / "reconstructions.png")

    return evaluator
