"""One optimisation step, compiled once, with the batch sharded over all devices."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from symmerge_jax.training import _sharding
from symmerge_jax.training._state import TrainState

Metrics = dict[str, Array]
LossFn = Callable[[PyTree, PyTree, Array], tuple[Array, Metrics]]
StepFn = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]

_RESERVED = ("loss", "grad_norm", "lr")


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    schedule_fn: optax.Schedule | None = None,
    mesh: Mesh | None = None,
    num_microbatches: int = 1,
    ema_decay: float | None = None,
    parallel: Literal["jit", "pmap"] = "jit",
) -> StepFn:
    """Return the compiled training step.

    The gradient of the mean loss is accumulated over `num_microbatches` equal parts of
    the batch, which bounds memory and leaves the result unchanged up to rounding. With
    `ema_decay` the average follows `ema = d ema + (1 - d) params`,
    `d = min(ema_decay, (1 + k) / (10 + k))` after the update `k = 0, 1, ...`, so that
    short runs forget the initial values.

    Both kinds of parallelism agree up to rounding if the loss does not use its key:
    `jit` draws once for the whole (micro-)batch, `pmap` once for each device.

    Args:
      loss_fn: `loss_fn(params, batch, key) -> (loss, metrics)`; the loss is a scalar
        **mean** over the batch, and so are the metrics.
      optimizer: optax optimizer.
      schedule_fn: learning rate as a function of the step, logged as `lr`.
      mesh: mesh with the one axis `data`; all devices if None.
      num_microbatches: parts of each device's share of the batch.
      ema_decay: decay of the moving average in [0, 1), None for no average; must agree
        with `ema` of the state.
      parallel: `jit` with `NamedSharding` over the mesh, or `pmap`.

    Returns:
      `step(state, batch) -> (state, metrics)`. The batch is a tree of arrays
      `[N, ...]`, of numpy or on devices; of many processes, each gives its `own_rows`.
      The **old state is donated** and must not be
      used again. Metrics are `loss`, `grad_norm` (global norm before clipping), `lr`
      and those of `loss_fn`.

    Raises:
      ValueError: options outside their range; in the step, batches that do not split
        evenly, reserved or non-scalar metrics, or a state that does not fit
        `ema_decay`.
    """
    mesh = _sharding.make_mesh() if mesh is None else mesh
    if num_microbatches < 1:
        raise ValueError(
            f"num_microbatches must be at least 1, got {num_microbatches}."
        )
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must be None or in [0, 1), got {ema_decay}.")
    if parallel not in ("jit", "pmap"):
        raise ValueError(f"parallel must be 'jit' or 'pmap', got {parallel!r}.")

    if parallel == "pmap" and mesh.is_multi_process:
        raise ValueError("parallel='pmap' works in one process: choose 'jit'.")

    def update(
        state: TrainState, gradients: PyTree, loss: Array, metrics: Metrics
    ) -> tuple[TrainState, Metrics]:
        metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(gradients)}
        if schedule_fn is not None:
            metrics["lr"] = jnp.asarray(schedule_fn(state.step))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_decay is not None:
            ema_params = _average(ema_params, params, state.step, ema_decay)
        state = TrainState(state.step + 1, params, opt_state, ema_params, state.key)
        return state, metrics

    def jit_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        parts = _split(batch, mesh.size, num_microbatches)
        sharding = NamedSharding(mesh, PartitionSpec(None, _sharding.AXIS))
        parts = jax.lax.with_sharding_constraint(parts, sharding)
        loss, metrics, gradients = _accumulate(loss_fn, state.params, parts, key)
        return update(state, gradients, loss, metrics)

    def pmap_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if mesh.size > 1:
            key = jax.random.fold_in(key, jax.lax.axis_index(_sharding.AXIS))
        parts = _split(batch, 1, num_microbatches)
        result = _accumulate(loss_fn, state.params, parts, key)
        loss, metrics, gradients = jax.lax.pmean(result, _sharding.AXIS)
        return update(state, gradients, loss, metrics)

    if parallel == "jit":
        whole = _sharding.replicated_sharding(mesh)
        compiled = jax.jit(
            jit_step,
            in_shardings=(whole, _sharding.batch_sharding(mesh)),
            out_shardings=whole,
            donate_argnums=0,
        )
    else:
        compiled = jax.pmap(
            pmap_step,
            axis_name=_sharding.AXIS,
            in_axes=(None, 0),
            out_axes=None,
            donate_argnums=0,
            devices=list(mesh.devices.flat),
        )

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        batch = _sharding.join_batch(batch, mesh)
        _sharding.check_batch(batch, mesh.size, num_microbatches)
        if (state.ema_params is None) != (ema_decay is None):
            raise ValueError(
                f"ema_decay={ema_decay} does not fit a state"
                f" {'without' if state.ema_params is None else 'with'} ema_params: call"
                " init_state(..., ema=ema_decay is not None)."
            )
        if parallel == "pmap":
            batch = jax.tree.map(
                lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), batch
            )
        return compiled(state, batch)

    return step


def _split(batch: PyTree, num_devices: int, num_parts: int) -> PyTree:
    """Reshape `[N, ...]` to `[parts, N / parts, ...]`, rows staying on devices."""

    def split(x: Array) -> Array:
        x = x.reshape(num_devices, num_parts, -1, *x.shape[1:])
        return x.swapaxes(0, 1).reshape(num_parts, -1, *x.shape[3:])

    return jax.tree.map(split, batch)


def _accumulate(
    loss_fn: LossFn, params: PyTree, parts: PyTree, key: Array
) -> tuple[Array, Metrics, PyTree]:
    """Return loss, metrics and gradient, averaged over the leading axis of parts."""

    def checked_loss(
        params: PyTree, batch: PyTree, key: Array
    ) -> tuple[Array, Metrics]:
        loss, metrics = loss_fn(params, batch, key)
        _check_loss(loss, metrics)
        return loss, metrics

    def gradient(part: PyTree, key: Array) -> tuple[PyTree, tuple[Array, Metrics]]:
        (loss, metrics), gradients = jax.value_and_grad(checked_loss, has_aux=True)(
            params, part, key
        )
        return gradients, (loss, metrics)

    num_parts = jax.tree.leaves(parts)[0].shape[0]
    if num_parts == 1:
        gradients, (loss, metrics) = gradient(jax.tree.map(lambda x: x[0], parts), key)
        return loss, metrics, gradients

    def add(total: PyTree, part_and_index: tuple[PyTree, Array]) -> Any:
        part, index = part_and_index
        gradients, values = gradient(part, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, gradients), values

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, values = jax.lax.scan(add, zeros, (parts, jnp.arange(num_parts)))
    gradients = jax.tree.map(lambda x: x / num_parts, total)
    loss, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), values)
    return loss, metrics, gradients


def _check_loss(loss: Any, metrics: Mapping[str, Any]) -> None:
    if jnp.shape(loss) != ():
        raise ValueError(
            f"loss_fn must return a scalar mean, got a loss of shape {jnp.shape(loss)}."
        )
    for name, value in metrics.items():
        if name in _RESERVED:
            raise ValueError(
                f"Metric name {name!r} of loss_fn is reserved ({', '.join(_RESERVED)})."
            )
        if jnp.shape(value) != ():
            raise ValueError(
                f"Metric {name!r} of loss_fn must be a scalar mean, got shape"
                f" {jnp.shape(value)}."
            )


def _average(ema_params: PyTree, params: PyTree, step: Array, decay: float) -> PyTree:
    num_updates = step.astype(jnp.float32)
    decay_now = jnp.minimum(decay, (1 + num_updates) / (10 + num_updates))

    def mix(average: Array, new: Array) -> Array:
        d = decay_now.astype(average.dtype)
        return d * average + (1 - d) * new

    return jax.tree.map(mix, ema_params, params)
