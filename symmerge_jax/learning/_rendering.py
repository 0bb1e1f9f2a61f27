"""Train an autoencoder of INRs: the decoded network draws what the original draws."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import autoencoders, networks, symmetry, training, zoo
from symmerge_jax.learning import _autoencoder, _fit, _twins

LOSSES = ("function", "weights")
"""What is compared: renderings, or (an ablation) weights in canonical form."""

_NUM_ORBITS, _NUM_TWINS = 4, 8
"""Validation networks, and twins of each, that are compared during training."""


def rendering_job(
    inrs: zoo.Zoo,
    parts: _autoencoder.Parts,
    points: np.ndarray,
    *,
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    val_points: np.ndarray | None = None,
    loss: str = "function",
    num_points: int | None = None,
    augment: bool = False,
    warp: _twins.Warp | None = None,
    on_renderings: Callable[[int, np.ndarray, np.ndarray], Any] | None = None,
) -> _fit.Job:
    """Return the training of an autoencoder of INRs.

    Boufalis et al. 2025 (arXiv 2511.12601), section 5.1: the loss is
    `mean_x (f_decoded(x) - f(x))^2` between the decoded network and the original one,
    whose own rendering is the target.

    Args:
      inrs: the networks.
      parts: rows of those to train and to validate on, "train" and "val".
      points: `[S, I]` coordinates at which networks are compared, as
        `networks.coordinate_grid` returns them.
      encoder: see `autoencoders.build`.
      decoder: see `autoencoders.build`.
      val_points: those of the validation; None for the same.
      loss: "function", or "weights" for their canonical form, an ablation.
      num_points: random points in each step; None for all.
      augment: whether the encoder reads a new random twin of every network in every
        step: the alternative to an encoder that is invariant.
      warp: random change of the coordinates that networks read, drawn anew for every
        network in each step: other networks, whose own renderings are the targets. An
        encoder of weights alone otherwise knows its few networks by heart. None, and a
        warp of zeros, for none.
      on_renderings: called with the step and the renderings `[N, S, O]` of validation
        networks and of their reconstructions.

    Returns:
      The job, whose result is a `Canonicalizer`; validation measures are `mse`, `psnr`
      in dB, and `orbit_spread` of the latents of twins.

    Raises:
      ValueError: an unknown loss, encoder or option, `num_points` out of range, or a
        warp of networks that read no coordinates.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}, known are {LOSSES}.")
    if num_points is not None and not 1 <= num_points <= len(points):
        raise ValueError(
            f"num_points is {num_points}, it must lie in 1..{len(points)}, the number"
            " of points, or be None for all of them."
        )
    warp = _twins.Warp() if warp is None else warp
    warp.check(inrs.architecture)
    train, val = _autoencoder.select(inrs, parts)
    untrained = _autoencoder.untrained(train, encoder, decoder)
    model, grid = untrained.autoencoder, jnp.asarray(points)
    stds = symmetry.unflatten(
        {path: std or 1.0 for path, (_, std) in untrained.statistics.items()}
    )

    def loss_fn(variables, batch, key):
        dropout_key, point_key = jax.random.split(key)
        params = _twins.warp_coordinates(
            jax.random.fold_in(key, 3), batch["params"], warp
        )
        decoded = _autoencoder.decode(
            model, variables, params, key, dropout_key, augment=augment
        )
        if loss == "weights":
            losses = autoencoders.weight_loss(decoded, params, model.network.spec, stds)
            return jnp.mean(losses), {}
        chosen = slice(None)
        if num_points is not None:
            chosen = jax.random.choice(
                point_key, len(grid), (num_points,), replace=False
            )
        targets, outputs = (
            networks.render(model.network, x, grid[chosen]) for x in (params, decoded)
        )
        return jnp.mean(autoencoders.functional_loss(outputs, targets)), {}

    def batches(seed: int, batch_size: int):
        return _autoencoder.rows_of({"params": train.params}, seed, batch_size)

    where = points if val_points is None else val_points
    return _fit.Job(
        untrained=untrained,
        model=model,
        loss_fn=loss_fn,
        num_examples=len(train),
        batches=batches,
        evaluator=functools.partial(_evaluator, model, val, where, on_renderings),
        best="val/mse",
        settings={
            "loss": loss,
            "num_points": num_points,
            "augment": augment,
            "warp": dataclasses.asdict(warp),
        },
    )


def _evaluator(model, val: zoo.Zoo, points, on_renderings) -> _fit.Evaluator:
    """Return measures of validation networks and of twins of some of them."""
    few = symmetry.rows(val.params, slice(_NUM_ORBITS))
    spec = model.network.spec
    twins = _twins.random_orbits(jax.random.key(0), few, spec, _NUM_TWINS)
    params = jax.tree.map(lambda *x: np.concatenate(x), dict(val.params), twins)
    batch = {"params": params, "targets": _render(model, params, points)}

    @jax.jit
    def decode(variables, batch):
        latents = model.encode(variables, batch["params"])
        decoded = model.decode(variables, latents)
        outputs = networks.render(model.network, decoded, points)
        error = autoencoders.functional_loss(outputs, batch["targets"])
        return {"latents": latents, "outputs": outputs, "error": error}

    def evaluator(state):
        run = functools.partial(decode, training.eval_params(state))
        results = _fit.map_rows(run, batch, 64)
        error = results["error"][: len(val)]
        yield "mse", np.mean(error)
        yield "psnr", np.mean(autoencoders.psnr(error))
        latents = results["latents"][len(val) :]
        orbits = latents.reshape(-1, _NUM_TWINS, latents.shape[-1])
        yield "orbit_spread", np.max(_twins.orbit_spread(orbits))
        if on_renderings is not None and training.is_first():
            pairs = (batch["targets"], results["outputs"])
            on_renderings(int(state.step), *(x[: len(val)] for x in pairs))

    return evaluator


def _render(model, params_batch, points) -> np.ndarray:
    """Return the outputs `[N, S, O]` of many networks."""
    render = jax.jit(lambda params: networks.render(model.network, params, points))
    return _fit.map_rows(render, params_batch, 256)
