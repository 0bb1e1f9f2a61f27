import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symmerge_jax import training

ROOT = pathlib.Path(__file__).parents[2]

TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, optax
from symmerge_jax import training
jax.config.update("jax_enable_x64", True)
assert jax.device_count() == 2

def loss_fn(params, batch, key):
    loss = jnp.mean(jnp.square(jnp.tanh(batch @ params["w"])))
    return loss, {"mean": jnp.mean(batch)}

optimizer, schedule_fn = training.make_optimizer(0.1, 10, 2, clip_norm=0.1)
params = {"w": jnp.linspace(-1, 1, 6).reshape(3, 2)}
batches = np.random.default_rng(0).normal(size=(3, 8, 3))
results = []
for num_devices, parallel, parts in (
    (1, "jit", 1), (1, "pmap", 2), (2, "jit", 1), (2, "jit", 2),
    (2, "pmap", 1), (2, "pmap", 2),
):
    mesh = training.make_mesh(jax.devices()[:num_devices])
    step = training.make_train_step(
        loss_fn, optimizer, schedule_fn=schedule_fn, mesh=mesh,
        num_microbatches=parts, ema_decay=0.9, parallel=parallel,
    )
    state = training.init_state(
        jax.random.key(0), params, optimizer, ema=True, mesh=mesh
    )
    for batch in batches:
        if parallel == "jit":
            batch = training.shard_batch(batch, mesh)
        state, metrics = step(state, batch)
    assert state.params["w"].sharding.is_fully_replicated
    results.append(jax.device_get(
        (state.params, state.ema_params, state.opt_state, metrics)))
for other in results[1:]:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15),
        results[0], other)
print("equal", len(results))
"""


@pytest.mark.parametrize("num_microbatches", [2, 4])
def test_microbatches_give_the_gradient_of_the_whole_batch(key, num_microbatches):
    with jax.enable_x64(True):

        def loss_fn(params, batch, key):
            loss = jnp.mean(jnp.square(jnp.sin(batch["x"] @ params) - batch["y"]))
            return loss, {"size": jnp.mean(batch["x"])}

        optimizer = optax.sgd(0.1)
        x, y = jax.random.normal(key, (8, 3)), jax.random.normal(key, (8,))
        results = []
        for parts in (1, num_microbatches):
            step = training.make_train_step(loss_fn, optimizer, num_microbatches=parts)
            state = training.init_state(key, jnp.ones(3), optimizer)
            results.append(step(state, {"x": x, "y": y}))
        (a, metrics_a), (b, metrics_b) = results
        # Float64 sums in another order.
        np.testing.assert_allclose(a.params, b.params, rtol=1e-13)
        assert metrics_a.keys() == metrics_b.keys()
        for name in metrics_a:
            np.testing.assert_allclose(metrics_a[name], metrics_b[name], rtol=1e-12)


@pytest.mark.slow
def test_jit_and_pmap_agree_on_one_and_two_devices(two_devices):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TWO_DEVICES],
        env=two_devices, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal 6"


@pytest.mark.slow
def test_metrics_hold_loss_norm_and_rate(problem, key):
    params = problem.params(key)
    batch = problem.batch_fn(0)
    step_key = jax.random.fold_in(key, 0)
    (loss, _), gradient = jax.value_and_grad(problem.loss_fn, has_aux=True)(
        params, batch, step_key
    )
    _, metrics = problem.make_step()(problem.start(key), batch)
    assert set(metrics) == {"loss", "bias_mean", "grad_norm", "lr"}
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(
        metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-6
    )
    np.testing.assert_allclose(metrics["lr"], 0.05 / 3, rtol=1e-6)


def test_each_step_and_microbatch_has_its_own_key(key):
    def loss_fn(params, batch, key):
        return params * jax.random.uniform(key), {}

    for parts in (1, 2):
        optimizer = optax.sgd(0.0)
        step = training.make_train_step(loss_fn, optimizer, num_microbatches=parts)
        state = training.init_state(key, jnp.ones(()), optimizer)
        losses = []
        for _ in range(4):
            state, metrics = step(state, np.zeros((2, 1)))
            losses.append(float(metrics["loss"]))
        assert len(set(losses)) == 4
        assert (state.key == key).all()


def test_moving_average_follows_its_formula(problem, key):
    step = problem.make_step(ema_decay=0.3)
    state = problem.start(key, ema=True)
    expected = np.asarray(state.params["kernel"])
    for k in range(6):
        state, _ = step(state, problem.batch_fn(k))
        decay = min(0.3, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * np.asarray(state.params["kernel"])
        np.testing.assert_allclose(state.ema_params["kernel"], expected, rtol=1e-6)
    assert training.eval_params(state) is state.ema_params
    assert training.eval_params(state._replace(ema_params=None)) is state.params


def test_state_is_donated_and_the_callers_params_live_on(problem, key):
    params = problem.params(key)
    state = training.init_state(key, params, problem.optimizer, ema=True)
    problem.make_step(ema_decay=0.5)(state, problem.batch_fn(0))
    assert state.params["kernel"].is_deleted()
    assert not params["kernel"].is_deleted()
    assert key.shape == jax.random.split(key, 1)[0].shape


def test_batches_that_do_not_split_are_refused(problem, key):
    step = problem.make_step(num_microbatches=3)
    with pytest.raises(ValueError, match="num_microbatches=3 does not divide the 8"):
        step(problem.start(key), problem.batch_fn(0))
    step = problem.make_step()
    with pytest.raises(ValueError, match=r"\['y'\] has 8 rows but \['x'\] has 4"):
        batch = problem.batch_fn(0)
        step(problem.start(key), {**batch, "x": batch["x"][:4]})
    with pytest.raises(ValueError, match=r"\['y'\] is a scalar"):
        step(problem.start(key), {**problem.batch_fn(0), "y": 1.0})
    with pytest.raises(ValueError, match="batch of 0"):
        step(problem.start(key), problem.batch_fn(0, size=0))
    with pytest.raises(ValueError, match="holds no arrays"):
        step(problem.start(key), {})


def test_bad_losses_are_refused(problem, key):
    cases = [
        (lambda p, b, k: (b["x"][:, 0], {}), "scalar mean, got a loss of shape"),
        (
            lambda p, b, k: (0.0 * p["bias"][0], {"loss": 1.0}),
            "'loss' of loss_fn is re",
        ),
        (lambda p, b, k: (0.0 * p["bias"][0], {"m": p["bias"]}), "'m' of loss_fn must"),
    ]
    for loss_fn, message in cases:
        step = training.make_train_step(loss_fn, problem.optimizer)
        with pytest.raises(ValueError, match=message):
            step(problem.start(key), problem.batch_fn(0))


def test_bad_options_are_refused(problem, key):
    with pytest.raises(ValueError, match="num_microbatches must be at least 1"):
        problem.make_step(num_microbatches=0)
    with pytest.raises(ValueError, match="ema_decay must be None or in"):
        problem.make_step(ema_decay=1.0)
    with pytest.raises(ValueError, match="does not fit a state without ema_params"):
        problem.make_step(ema_decay=0.9)(problem.start(key), problem.batch_fn(0))
    with pytest.raises(ValueError, match="does not fit a state with ema_params"):
        problem.make_step()(problem.start(key, ema=True), problem.batch_fn(0))
    with pytest.raises(TypeError, match="typed key"):
        problem.start(jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match="at least one device"):
        training.make_mesh([])
