import io

import pytest

from symmerge_jax import training


def test_evaluation_hands_its_results_on(problem, key):
    got = []
    hook = training.evaluation_hook(
        {
            "val": lambda state: iter([("mse", 1.5), ("step", state.step)]),
            "orbit": lambda state: iter([("spread", 2)]),
        },
        every=3,
        results=(lambda *arguments: got.append(arguments),),
    )
    state = problem.start(key)
    hook.fn(6, state, {})
    assert got == [(6, state, {"val/mse": 1.5, "val/step": 0.0, "orbit/spread": 2.0})]
    assert hook.every == 3
    assert hook.needs_state


def test_progress_follows_the_steps(problem, key):
    stream = io.StringIO()
    with training.Progress(5, "train", min_seconds=0.0, stream=stream) as progress:
        training.train(
            problem.start(key), problem.make_step(), problem.batch_fn,
            num_steps=5, hooks=[training.progress_hook(progress, ("loss", "none"))],
        )  # fmt: skip
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("train: 5/5 step, ")
    assert ", loss " in lines[-1]


def test_latest_and_best_are_kept_in_one_run(problem, key, tmp_path):
    values = iter([3.0, 1.0, 2.0, 4.0])
    hooks = [
        training.evaluation_hook(
            {"val": lambda state: iter([("mse", next(values))])}, 2,
            results=(training.keep_best(tmp_path / "best", "val/mse"),),
        ),
        training.checkpoint_hook(
            tmp_path / "latest", 2, keep=2, metadata={"kind": "toy"}
        ),
    ]  # fmt: skip
    training.train(
        problem.start(key), problem.make_step(), problem.batch_fn,
        num_steps=8, hooks=hooks,
    )  # fmt: skip
    assert training.checkpoint_steps(tmp_path / "latest") == (6, 8)
    assert training.checkpoint_steps(tmp_path / "best") == (4,)
    assert training.load_metadata(tmp_path / "latest") == {"kind": "toy"}


def test_unknown_mode_is_refused(tmp_path, no_type_checks):
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'best'"):
        training.keep_best(tmp_path, "val/mse", mode="best")  # pyright: ignore
