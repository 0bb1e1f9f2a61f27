import os
import pathlib
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import training

ROOT = pathlib.Path(__file__).parents[2]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, host(a), host(b))


def host(state):
    return jax.device_get(state._replace(key=jax.random.key_data(state.key)))


def test_resume_equals_a_run_without_a_stop(problem, key, tmp_path):
    step_fn = problem.make_step(ema_decay=0.9)
    whole = training.train(
        problem.start(key, ema=True), step_fn, problem.batch_fn, num_steps=11
    )
    part = training.train(
        problem.start(key, ema=True),
        step_fn,
        problem.batch_fn,
        num_steps=6,
        hooks=[training.checkpoint_hook(tmp_path / "latest", 4)],
    )
    restored, _ = training.restore_checkpoint(
        tmp_path / "latest", problem.start(jax.random.key(7), ema=True)
    )
    assert_same(restored, part)
    resumed = training.train(restored, step_fn, problem.batch_fn, num_steps=11)
    assert_same(resumed, whole)


def test_hooks_fire_on_their_period_and_on_the_last_step(problem, key):
    fired = {"state": [], "metrics": []}

    def with_state(step, state, metrics):
        assert int(state.step) == step
        fired["state"].append(step)

    def without_state(step, state, metrics):
        assert state is None
        fired["metrics"].append((step, metrics["loss"]))

    losses = []
    hooks = [
        training.Hook(3, with_state),
        training.Hook(4, without_state, needs_state=False),
        training.Hook(1, lambda s, _, m: losses.append(m["loss"]), needs_state=False),
    ]
    training.train(
        problem.start(key), problem.make_step(), problem.batch_fn,
        num_steps=10, hooks=hooks,
    )  # fmt: skip
    assert fired["state"] == [3, 6, 9, 10]
    assert [step for step, _ in fired["metrics"]] == [4, 8, 10]
    # A hook gets the mean since it fired last.
    means = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])]
    np.testing.assert_allclose([mean for _, mean in fired["metrics"]], means)


def test_one_compilation_in_a_whole_run(problem, key, tmp_path):
    step_fn = problem.make_step(ema_decay=0.99, num_microbatches=2)
    hooks = [
        training.log_hook(tmp_path / "metrics.jsonl", 2),
        training.checkpoint_hook(tmp_path / "latest", 3),
    ]
    state = training.train(
        problem.start(key, ema=True), step_fn, problem.batch_fn,
        num_steps=8, hooks=hooks,
    )  # fmt: skip
    state, _ = training.restore_checkpoint(tmp_path / "latest", state)
    training.train(state, step_fn, problem.batch_fn, num_steps=12, hooks=hooks)
    assert len(problem.traces) == 1


def test_finished_state_comes_back_at_once(problem, key):
    step_fn = problem.make_step()
    state = problem.start(key)._replace(step=jnp.asarray(5, jnp.int32))
    assert training.train(state, step_fn, problem.batch_fn, num_steps=5) is state
    with pytest.raises(ValueError, match="beyond num_steps=4"):
        training.train(state, step_fn, problem.batch_fn, num_steps=4)


def test_steps_in_flight_at_the_end_are_read(problem, key):
    fired = []
    hooks = [training.Hook(2, lambda step, *_: fired.append(step), needs_state=False)]
    training.train(
        problem.start(key), problem.make_step(), problem.batch_fn,
        num_steps=5, hooks=hooks, max_in_flight=9,
    )  # fmt: skip
    assert fired == [2, 4, 5]
    with pytest.raises(FloatingPointError, match="at step 3"):
        training.train(
            problem.start(key), problem.make_step(),
            lambda step: {k: v * np.inf for k, v in problem.batch_fn(step).items()}
            if step == 2 else problem.batch_fn(step),
            num_steps=4, max_in_flight=9,
        )  # fmt: skip


@pytest.mark.parametrize("max_in_flight", [1, 7])
def test_loss_that_is_not_finite_names_the_first_such_step(problem, key, max_in_flight):
    def batch_fn(step):
        batch = problem.batch_fn(step)
        return {**batch, "y": batch["y"] * (np.nan if step == 4 else 1)}

    fired = []
    hooks = [training.Hook(1, lambda s, *_: fired.append(s), needs_state=False)]
    with pytest.raises(FloatingPointError, match="The loss is nan at step 5"):
        training.train(
            problem.start(key), problem.make_step(), batch_fn,
            num_steps=20, hooks=hooks, max_in_flight=max_in_flight,
        )  # fmt: skip
    assert fired == [1, 2, 3, 4]


def test_gradient_that_is_not_finite_is_never_saved(problem, key, tmp_path):
    def loss_fn(params, batch, key):
        loss, metrics = problem.loss_fn(params, batch, key)
        return loss + jnp.sqrt(jnp.sum(params["bias"] * 0)), metrics

    step_fn = training.make_train_step(loss_fn, problem.optimizer)
    hooks = [training.checkpoint_hook(tmp_path, 1)]
    with pytest.raises(FloatingPointError, match="gradient's norm is nan at step 1"):
        training.train(
            problem.start(key), step_fn, problem.batch_fn, num_steps=3, hooks=hooks
        )
    assert training.checkpoint_steps(tmp_path) == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_first_and_resume_gives_the_same_end(
    problem, key, tmp_path, number
):
    def batch_fn(step):
        if step == 4:
            os.kill(os.getpid(), number)
        return problem.batch_fn(step)

    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    step_fn = problem.make_step()
    with pytest.raises(training.Interrupted) as caught:
        training.train(
            problem.start(key), step_fn, batch_fn,
            num_steps=9, hooks=[training.checkpoint_hook(tmp_path, 100)],
        )  # fmt: skip
    assert caught.value.signal_number == number
    assert caught.value.step == 5
    assert f"Stopped by {number.name} after step 5 of 9" in str(caught.value)
    assert "start it again to resume" in str(caught.value)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert training.checkpoint_steps(tmp_path) == (5,)
    state, _ = training.restore_checkpoint(tmp_path, problem.start(key))
    resumed = training.train(state, step_fn, problem.batch_fn, num_steps=9)
    whole = training.train(problem.start(key), step_fn, problem.batch_fn, num_steps=9)
    assert_same(resumed, whole)


def test_second_signal_aborts_at_once(problem, key, tmp_path):
    def batch_fn(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return problem.batch_fn(step)

    with pytest.raises(KeyboardInterrupt, match="second signal") as caught:
        training.train(
            problem.start(key), problem.make_step(), batch_fn,
            num_steps=9, hooks=[training.checkpoint_hook(tmp_path, 100)],
        )  # fmt: skip
    assert not isinstance(caught.value, training.Interrupted)
    assert training.checkpoint_steps(tmp_path) == ()


def test_signal_in_the_last_step_is_not_lost(problem, key, tmp_path):
    def stop(step, state, metrics):
        os.kill(os.getpid(), signal.SIGTERM)

    hooks = [training.checkpoint_hook(tmp_path, 100), training.Hook(3, stop)]
    with pytest.raises(training.Interrupted, match="after step 3 of 3"):
        training.train(
            problem.start(key), problem.make_step(), problem.batch_fn,
            num_steps=3, hooks=hooks,
        )  # fmt: skip
    assert training.checkpoint_steps(tmp_path) == (3,)


def test_message_without_a_hook_that_saves(problem, key):
    def batch_fn(step):
        os.kill(os.getpid(), signal.SIGTERM)
        return problem.batch_fn(step)

    with pytest.raises(training.Interrupted, match="No hook saved the state"):
        training.train(problem.start(key), problem.make_step(), batch_fn, num_steps=9)


def test_runs_outside_the_main_thread(problem, key):
    states = []

    def run():
        states.append(
            training.train(
                problem.start(key), problem.make_step(), problem.batch_fn, num_steps=2
            )
        )

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert int(states[0].step) == 2


@pytest.mark.parametrize(
    "options",
    [{"max_in_flight": 0}, {"hooks": [training.Hook(0, lambda *_: None)]}],
)
def test_bad_options_are_refused(problem, key, options):
    with pytest.raises(ValueError, match=r"at least 1|every >= 1"):
        training.train(
            problem.start(key), problem.make_step(), problem.batch_fn,
            num_steps=1, **options,
        )  # fmt: skip
