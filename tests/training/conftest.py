"""A least-squares problem that every training test can afford."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from symmerge_jax import training


@pytest.fixture
def problem():
    """Loss, deterministic batches, an optimizer; counts the traces of the loss."""
    traces = []

    def loss_fn(params, batch, key):
        traces.append(batch["x"].shape)
        prediction = batch["x"] @ params["kernel"] + params["bias"][None]
        noise = 1e-3 * jax.random.normal(key, prediction.shape, prediction.dtype)
        loss = jnp.mean(jnp.square(prediction + noise - batch["y"]))
        return loss, {"bias_mean": jnp.mean(params["bias"])}

    def batch_fn(step, size=8):
        generator = np.random.default_rng(step)
        x = generator.normal(size=(size, 3)).astype(np.float32)
        return {"x": x, "y": x @ np.full((3, 2), 0.5, np.float32) + 0.25}

    def params(key):
        return {"kernel": jax.random.normal(key, (3, 2)), "bias": jnp.zeros(2)}

    optimizer, schedule_fn = training.make_optimizer(
        0.05, 20, 3, schedule="cosine", weight_decay=0.01, clip_norm=1.0
    )

    def start(key, **options):
        return training.init_state(key, params(key), optimizer, **options)

    def make_step(**options):
        return training.make_train_step(
            loss_fn, optimizer, schedule_fn=schedule_fn, **options
        )

    return SimpleNamespace(
        loss_fn=loss_fn,
        batch_fn=batch_fn,
        params=params,
        optimizer=optimizer,
        schedule_fn=schedule_fn,
        start=start,
        make_step=make_step,
        traces=traces,
    )


@pytest.fixture
def no_type_checks():
    """Switch jaxtyping's checks off, which would answer before our own messages."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
