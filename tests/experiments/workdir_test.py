import dataclasses
import errno
import json
import os
import shutil

import jax
import pytest
from ml_collections import ConfigDict

import symmerge_jax
from experiments import harness


@pytest.fixture
def config():
    return ConfigDict(
        {"num_steps": 100, "log_every": 10, "model": {"layer_sizes": (2, 8, 1)}}
    )


def test_new_folder_holds_config_and_versions(config, tmp_path):
    path = harness.open_workdir(tmp_path / "a" / "b", config)
    assert path == tmp_path / "a" / "b"
    stored = json.loads((path / "config.json").read_text())
    assert stored["model"]["layer_sizes"] == [2, 8, 1]
    (record,) = json.loads((path / "versions.json").read_text())
    assert record["jax"] == jax.__version__
    assert record["symmerge_jax"] == symmerge_jax.__version__
    assert record["num_devices"] == jax.device_count()
    assert record["num_cpus"] >= 1
    assert record.keys() >= {
        "python", "flax", "optax", "orbax-checkpoint", "platform",
        "device_kind", "git_commit",
    }  # fmt: skip


def test_same_config_resumes(config, tmp_path):
    path = harness.open_workdir(tmp_path, config)
    assert harness.open_workdir(tmp_path, config) == path
    assert len(json.loads((path / "versions.json").read_text())) == 1
    (path / "versions.json").write_text('[{"jax": "0.1"}]')
    harness.open_workdir(tmp_path, config)
    assert len(json.loads((path / "versions.json").read_text())) == 2


def test_a_process_with_another_folder_or_config_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"process 0 does not see config\.json"):
        harness.check_shared(tmp_path, config)
    harness.open_workdir(tmp_path, config)
    harness.check_shared(tmp_path, config)
    config.log_every = 20
    with pytest.raises(ValueError, match=r"10 and is now 20\. Start all processes"):
        harness.check_shared(tmp_path, config)


def test_intervals_may_change(config, tmp_path):
    harness.open_workdir(tmp_path, config)
    config.log_every = 20
    path = harness.open_workdir(tmp_path, config)
    assert harness.load_config(path / "config.json").log_every == 20
    with pytest.raises(ValueError, match="log_every was 20 and is now 30"):
        config.log_every = 30
        harness.open_workdir(tmp_path, config, may_change=())


def test_whole_keys_may_change_where_their_last_parts_may_not(tmp_path):
    def config(first, second):
        return ConfigDict({"a": {"rate": first}, "b": {"rate": second}})

    harness.open_workdir(tmp_path / "run", config(1, 1), may_change=("b.rate",))
    harness.open_workdir(tmp_path / "run", config(1, 2), may_change=("b.rate",))
    with pytest.raises(ValueError, match=r"a\.rate was 1 and is now 2"):
        harness.open_workdir(tmp_path / "run", config(2, 2), may_change=("b.rate",))


def test_another_config_is_refused(config, tmp_path):
    path = harness.open_workdir(tmp_path, config)
    before = (path / "config.json").read_text()
    config.model.layer_sizes = (2, 9, 1)
    config.num_steps = 7
    config.extra = "x"
    with pytest.raises(ValueError) as caught:
        harness.open_workdir(tmp_path, config)
    message = str(caught.value)
    assert f"workdir {tmp_path} belongs to another config" in message
    assert "model.layer_sizes was [2, 8, 1] and is now [2, 9, 1]" in message
    assert "num_steps was 100 and is now 7" in message
    assert "extra was 'absent' and is now 'x'" in message
    assert "Choose another --workdir" in message
    assert (path / "config.json").read_text() == before


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_the_advice_for_a_damaged_config_works(config, tmp_path, content):
    path = harness.open_workdir(tmp_path / "run", config)
    (path / "config.json").write_text(content)
    advice = r"config\.json is not .*JSON.*: restore it, or delete its whole folder or"
    with pytest.raises(ValueError, match=advice):
        harness.open_workdir(path, config)
    with pytest.raises(ValueError, match=advice):
        harness.merge_config(path, config)
    shutil.rmtree(path)
    harness.open_workdir(path, config)


def test_other_folders_are_refused(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"not empty and holds no config\.json"):
        harness.open_workdir(tmp_path, config)
    with pytest.raises(ValueError, match="is a file"):
        harness.open_workdir(tmp_path / "thesis.tex", config)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture
def experiment(config):
    """An experiment that trains nothing, and measures what its config names."""
    config.update({"methods": ("a",), "other": {"source": "x", "zoo": "x.zoo"}})

    def plan(config):
        if "magic" in config.methods:
            raise ValueError("unknown method")
        return config

    def run(config, folder):
        return {"methods": list(config.methods)}

    return harness.Experiment(
        name="stub",
        defaults=lambda: config,
        plan=plan,
        run=run,
        evaluate=run,
        tables=lambda results: [harness.measures("Stub", results)],
        may_change=("methods", "other.source"),
    )


def test_a_run_is_measured_with_other_values_that_change_no_training(
    experiment, tmp_path
):
    assert harness.run(experiment, ConfigDict(), tmp_path) == {"methods": ["a"]}
    given = ConfigDict({"methods": ("c",), "log_every": 5, "other": {"source": "y"}})
    assert harness.evaluate(experiment, tmp_path, given) == {"methods": ["c"]}
    assert harness.read_json(tmp_path / "results.json") == {"methods": ["c"]}
    kept = harness.load_config(tmp_path / "config.json")
    assert kept.to_dict() == {
        "num_steps": 100, "log_every": 5, "model": {"layer_sizes": [2, 8, 1]},
        "methods": ["c"], "other": {"source": "y", "zoo": "x.zoo"},
    }  # fmt: skip
    harness.run(experiment, kept, tmp_path)  # the next start knows them


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_steps": 7}, "num_steps was 100 and is now 7"),
        ({"model": {"layer_sizes": (3,)}}, r"layer_sizes was \[2, 8, 1\] and is now"),
        ({"extra": "x"}, "extra was 'absent' and is now 'x'"),
        ({"methods": ("magic",)}, "unknown method"),
    ],
)
def test_a_refused_evaluation_changes_nothing(given, message, experiment, tmp_path):
    harness.run(experiment, ConfigDict(), tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ValueError, match=message):
        given = ConfigDict({"log_every": 5, **given})
        harness.evaluate(experiment, tmp_path, given)
    assert (tmp_path / "config.json").read_text() == before


def test_what_leaves_no_model_is_not_measured_again(experiment, tmp_path):
    experiment = dataclasses.replace(experiment, evaluate=None)
    harness.run(experiment, ConfigDict(), tmp_path)
    with pytest.raises(ValueError, match=r"leaves no model .*results\.json"):
        harness.evaluate(experiment, tmp_path)


@pytest.fixture
def busy(monkeypatch):
    """Return a function that makes a lock one of another process."""

    def acquire(path, works_on):
        raise ValueError(f"another process (pid 7) works in '{works_on}'")

    monkeypatch.setattr("symmerge_jax.files._lock._acquire", acquire)


def work(workdir, content=None):
    with harness.locked(workdir):
        held = [path.name for path in workdir.iterdir()] if workdir.is_dir() else None
        if content is not None:
            (workdir / "results").write_text(content)
        return held


def test_a_run_is_alone_in_its_folder(tmp_path):
    assert work(tmp_path / "new" / "run") == [".lock"]
    assert not (tmp_path / "new").exists()  # nothing was left there
    assert work(tmp_path / "run", content="x") == [".lock"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results"]
    assert work(tmp_path / "run" / "results") is None  # a file: the function tells


def test_a_second_process_is_refused(tmp_path, experiment, busy):
    for call in (work, lambda path: harness.run(experiment, ConfigDict(), path)):
        with pytest.raises(ValueError, match=rf"pid 7\) works in '{tmp_path}/run'"):
            call(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_run_that_was_killed_is_no_other_file(tmp_path, config):
    (tmp_path / ".lock").write_text("7")
    harness.open_workdir(tmp_path, config)


def test_an_unchanged_config_is_not_written_again(tmp_path, config, monkeypatch):
    path = harness.open_workdir(tmp_path, config)
    monkeypatch.setattr("symmerge_jax.files.replacing", None)
    harness.open_workdir(path, config)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_told_at_once(tmp_path, monkeypatch, number):
    def refuse(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("symmerge_jax.files._lock._acquire", refuse)
    message = rf"no results can be kept here: work on a copy: '{tmp_path}'"
    with pytest.raises(OSError, match=message):
        work(tmp_path)
