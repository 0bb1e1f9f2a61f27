import json

import numpy as np
import pytest

from symmerge_jax import training


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_records_read_back_as_series(path):
    training.append_metrics(path, 10, {"loss": 0.5, "lr": 0.1})
    training.append_metrics(path, 10, {"val/mse": 2})
    training.append_metrics(path, 20, {"loss": float("nan")})
    metrics = training.read_metrics(path)
    np.testing.assert_array_equal(metrics["loss"].steps, [10, 20])
    np.testing.assert_array_equal(metrics["loss"].values, [0.5, np.nan])
    np.testing.assert_array_equal(metrics["val/mse"].values, [2.0])
    assert json.loads(path.read_text().splitlines()[2]) == {"step": 20, "loss": None}


def test_resume_leaves_no_step_twice(path):
    for step in (10, 20, 30):
        training.append_metrics(path, step, {"loss": step / 10})
    with open(path, "a") as file:
        file.write('{"step": 40, "lo')  # cut off by a crash
    assert len(training.read_metrics(path)["loss"].steps) == 3
    training.truncate_metrics(path, 20)
    training.append_metrics(path, 30, {"loss": 7.0})
    metrics = training.read_metrics(path)
    np.testing.assert_array_equal(metrics["loss"].steps, [10, 20, 30])
    np.testing.assert_array_equal(metrics["loss"].values, [1.0, 2.0, 7.0])
    assert [p.name for p in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_run_that_resumes_writes_the_same_file(problem, key, tmp_path):
    def run(name, *ends):
        folder = tmp_path / name
        folder.mkdir()
        step_fn = problem.make_step()
        for end in ends:
            state = problem.start(key)
            if training.checkpoint_steps(folder / "latest"):
                state, _ = training.restore_checkpoint(folder / "latest", state)
            training.truncate_metrics(folder / "metrics.jsonl", int(state.step))
            hooks = [
                training.log_hook(folder / "metrics.jsonl", 2),
                training.evaluation_hook(
                    {"val": lambda s: iter([("bias", s.params["bias"][0])])}, 3,
                    results=(training.write_results(folder / "metrics.jsonl"),),
                ),
                training.checkpoint_hook(folder / "latest", 4),
            ]  # fmt: skip
            training.train(state, step_fn, problem.batch_fn, num_steps=end, hooks=hooks)
        return training.read_metrics(folder / "metrics.jsonl")

    whole = run("whole", 12)
    # Two logged steps after the checkpoint of step 4 are lost and made again.
    resumed = run("resumed", 4, 12)
    assert whole.keys() == resumed.keys()
    np.testing.assert_array_equal(whole["loss"].steps, [2, 4, 6, 8, 10, 12])
    for name in ("loss", "lr", "grad_norm"):
        np.testing.assert_array_equal(whole[name].steps, resumed[name].steps)
        np.testing.assert_array_equal(whole[name].values, resumed[name].values)
    np.testing.assert_array_equal(whole["val/bias"].steps, [3, 6, 9, 12])


def test_damage_and_misuse_are_named(path):
    training.truncate_metrics(path, 3)
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match=r"No metrics in .*metrics.jsonl"):
        training.read_metrics(path)
    path.write_text('{"step": 1, "loss": 1}\nnonsense\n{"step": 2, "loss": 1}\n')
    with pytest.raises(ValueError, match="line 2 is not a metrics record"):
        training.read_metrics(path)
    with pytest.raises(ValueError, match="must not have the name 'step'"):
        training.append_metrics(path, 1, {"step": 1.0})


def test_time_of_hooks_is_not_time_of_steps(problem, key, path):
    import time

    hooks = [
        training.log_hook(path, 1),
        training.Hook(1, lambda *_: time.sleep(0.3)),
    ]
    training.train(
        problem.start(key), problem.make_step(), problem.batch_fn,
        num_steps=4, hooks=hooks,
    )  # fmt: skip
    seconds = training.read_metrics(path)["seconds_per_step"]
    np.testing.assert_array_equal(seconds.steps, [2, 3, 4])  # the first one compiles
    assert seconds.values.max() < 0.25
