import errno
import gc
import pathlib
import resource
import shutil
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import training


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, host(a), host(b))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [x.dtype for x in jax.tree.leaves(a)] == [
        x.dtype for x in jax.tree.leaves(b)
    ]


def host(state):
    return jax.device_get(state._replace(key=jax.random.key_data(state.key)))


def at_step(state, step):
    return state._replace(step=jnp.asarray(step, jnp.int32))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints of two steps, and the state of the second."""
    folder = tmp_path_factory.mktemp("saved")
    optimizer, _ = training.make_optimizer(0.1, 10, clip_norm=1.0)
    params = {"dense_0": {"kernel": jax.random.normal(jax.random.key(1), (40, 30))}}
    state = training.init_state(jax.random.key(3), params, optimizer, ema=True)
    for step in (4, 8):
        state = at_step(state, step)
        training.save_checkpoint(folder, state, metadata={"width": 3, "name": "é"})
    return folder, state


def test_round_trip_is_exact(problem, key, tmp_path):
    state = problem.start(key, ema=True)
    step_fn = problem.make_step(ema_decay=0.9)
    for k in range(3):
        state, _ = step_fn(state, problem.batch_fn(k))
    threads = threading.enumerate()
    path = training.save_checkpoint(tmp_path / "a", state, metadata={"note": [1, "x"]})
    other = problem.start(jax.random.key(9), ema=True)
    restored, metadata = training.restore_checkpoint(tmp_path / "a", other)
    assert_same(restored, state)
    assert metadata == {"note": [1, "x"]}
    assert path == tmp_path / "a" / "3"
    assert threading.enumerate() == threads
    assert restored.params["kernel"].sharding == state.params["kernel"].sharding


def test_special_floats_and_narrow_types_survive(key, tmp_path):
    params = {
        "a": jnp.array([jnp.nan, jnp.inf, -0.0, 1e-45], jnp.float32),
        "b": jnp.array([1.5, -2.0], jnp.bfloat16),
    }
    optimizer, _ = training.make_optimizer(0.1, 10)
    state = training.init_state(key, params, optimizer)
    training.save_checkpoint(tmp_path, state)
    restored, _ = training.restore_checkpoint(tmp_path, state)
    for a, b in zip(
        jax.tree.leaves(params), jax.tree.leaves(restored.params), strict=True
    ):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.dtype == b.dtype


def test_the_latest_rotate(problem, key, tmp_path):
    state = problem.start(key)
    assert training.checkpoint_steps(tmp_path / "none") == ()
    for step in (2, 4, 6):
        training.save_checkpoint(tmp_path, at_step(state, step), keep=2)
    assert training.checkpoint_steps(tmp_path) == (4, 6)
    restored, _ = training.restore_checkpoint(tmp_path, state, step=4)
    assert int(restored.step) == 4
    training.save_checkpoint(tmp_path, at_step(state, 5), keep=1)
    assert training.checkpoint_steps(tmp_path) == (5,)


def test_best_is_kept_apart_and_survives_a_resume(problem, key, tmp_path):
    state = problem.start(key)
    save = training.keep_best(tmp_path, "val/mse", metadata={"width": 3})
    for step, value in ((1, 3.0), (2, 1.0), (3, float("nan")), (4, 2.0)):
        save(step, at_step(state, step), {"val/mse": value})
    assert training.checkpoint_steps(tmp_path) == (2,)
    best = {"metric": "val/mse", "mode": "min", "value": 1.0, "step": 2}
    assert training.load_metadata(tmp_path) == {"width": 3, "best": best}
    save = training.keep_best(tmp_path, "val/mse")
    save(5, at_step(state, 5), {"val/mse": 1.5})
    assert training.checkpoint_steps(tmp_path) == (2,)
    save(6, at_step(state, 6), {"val/mse": 0.5})
    assert training.checkpoint_steps(tmp_path) == (6,)
    with pytest.raises(ValueError, match="no result 'val/mse'"):
        save(7, state, {"other": 1.0})
    with pytest.raises(ValueError, match=r"by 'val/mse' \(min\), not by 'val/acc'"):
        training.keep_best(tmp_path, "val/acc", mode="max")(7, state, {"val/acc": 1.0})


def test_largest_can_be_the_best(problem, key, tmp_path):
    save = training.keep_best(tmp_path, "val/psnr", mode="max")
    for step, value in ((1, 3.0), (2, 5.0), (3, 4.0)):
        save(step, at_step(problem.start(key), step), {"val/psnr": value})
    assert training.checkpoint_steps(tmp_path) == (2,)


def test_parameters_load_without_the_optimizer(saved):
    folder, state = saved
    average = jax.tree.map(lambda x: x + 1, state.params)
    state = at_step(state._replace(ema_params=average), 9)
    training.save_checkpoint(folder, state, metadata={"width": 3}, keep=3)
    params, metadata = training.load_params(folder)
    jax.tree.map(np.testing.assert_array_equal, params, average)
    assert metadata == {"width": 3}
    params, _ = training.load_params(folder, ema=False)
    jax.tree.map(np.testing.assert_array_equal, params, state.params)
    params, _ = training.load_params(folder, step=8)
    jax.tree.map(np.testing.assert_array_equal, params, state.params)
    shutil.rmtree(folder / "9")


def test_missing_checkpoints_are_named(saved, tmp_path):
    folder, state = saved
    with pytest.raises(FileNotFoundError, match=r"No checkpoint in .*nowhere"):
        training.restore_checkpoint(tmp_path / "nowhere", state)
    with pytest.raises(FileNotFoundError, match=r"of step 5 .* the steps 4, 8"):
        training.load_params(folder, step=5)
    with pytest.raises(ValueError, match="keep must be at least 1"):
        training.save_checkpoint(folder, state, keep=0)


def test_other_structures_are_refused(saved, key):
    folder, state = saved
    optimizer, _ = training.make_optimizer(0.1, 10, clip_norm=1.0)
    other = {"dense_0": {"kernel": jnp.zeros((40, 31))}}
    with pytest.raises(ValueError) as caught:
        start = training.init_state(key, other, optimizer, ema=True)
        training.restore_checkpoint(folder, start)
    message = str(caught.value)
    assert str(folder / "8") in message
    assert "params/dense_0/kernel is float32[40, 30] in the checkpoint" in message
    assert "float32[40, 31] in this run" in message
    with pytest.raises(ValueError, match=r"a moving average .* keeps none"):
        start = training.init_state(key, state.params, optimizer)
        training.restore_checkpoint(folder, start)
    with pytest.raises(ValueError, match=r"rest/opt_state/\S+ is absent in the"):
        optimizer, _ = training.make_optimizer(0.1, 10)
        start = training.init_state(key, state.params, optimizer, ema=True)
        training.restore_checkpoint(folder, start)


def test_average_that_was_not_saved_is_named(problem, key, tmp_path):
    training.save_checkpoint(tmp_path, problem.start(key))
    with pytest.raises(ValueError, match=r"no moving average .* this run keeps one"):
        training.restore_checkpoint(tmp_path, problem.start(key, ema=True))


def damage(path: pathlib.Path, how: str):
    data = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // 2
        path.write_bytes(
            data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        )


@pytest.mark.parametrize("how", ["delete", "truncate", "flip"])
def test_damage_names_the_file_and_the_remedy(saved, tmp_path, how, capfd):
    folder, state = saved
    files = [p.relative_to(folder) for p in (folder / "8").rglob("*") if p.is_file()]
    assert len(files) > 8
    for file in files:
        shutil.copytree(folder, tmp_path / "copy")
        damage(tmp_path / "copy" / file, how)
        with pytest.raises(ValueError) as caught:
            training.restore_checkpoint(tmp_path / "copy", state)
        message = str(caught.value)
        assert f"Checkpoint {tmp_path / 'copy' / '8'} is damaged" in message
        assert file.name in message
        assert "delete this folder to resume from step 4" in message
        shutil.rmtree(tmp_path / "copy")
    assert capfd.readouterr().err == ""


def test_each_missing_item_is_named(saved, tmp_path):
    folder, state = saved
    for name in ("params", "ema_params", "rest"):
        shutil.copytree(folder / "8", tmp_path / "8")
        shutil.rmtree(tmp_path / "8" / name)
        with pytest.raises(ValueError, match=f"file {name}/.* is missing"):
            training.restore_checkpoint(tmp_path, state)
        shutil.rmtree(tmp_path / "8")


def test_rest_of_an_interrupted_write_is_cleared(problem, key, tmp_path):
    state = problem.start(key)
    leftover = tmp_path / "7.tmp"
    leftover.mkdir()
    (leftover / "half").write_text("a file")
    assert training.checkpoint_steps(tmp_path) == ()
    path = training.save_checkpoint(tmp_path, state)
    assert list(tmp_path.iterdir()) == [path]
    training.save_checkpoint(tmp_path, at_step(state, 1), keep=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "1"]


@pytest.mark.slow
def test_without_space_one_error_names_the_checkpoint(saved, tmp_path, capfd, caplog):
    _, state = saved
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in (0, 100, 2000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(OSError) as caught:
                training.save_checkpoint(tmp_path, state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(tmp_path / "8")
        assert not list(tmp_path.iterdir())
    signal.signal(signal.SIGXFSZ, handler)
    del caught
    gc.collect()  # asyncio tells of its other writes when they are collected
    assert not caplog.records
    assert capfd.readouterr().err == ""
    training.save_checkpoint(tmp_path, state)
    assert_same(training.restore_checkpoint(tmp_path, state)[0], state)


def test_other_errors_of_orbax_are_not_hidden(saved, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("a bug")

    monkeypatch.setattr("symmerge_jax.training._checkpoint._fill", fail)
    with pytest.raises(ValueError, match="a bug"):
        training.save_checkpoint(tmp_path, saved[1])
