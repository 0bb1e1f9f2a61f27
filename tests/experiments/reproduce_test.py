"""The order, the records and the restarts of a reproduction, on stages that do little.

The stages of the paper themselves are run in `reproduce_smoke_test.py`.
"""

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import time
import types

import pytest
from ml_collections import ConfigDict, config_dict

from experiments import harness, registry
from experiments.paper import reproduce
from experiments.train import autoencode
from symmerge_jax import training
from tests.experiments import cnns, configs

COMMAND = "python launch/reproduce.py --config=c.py --workdir=w"
STUB = """
from ml_collections import ConfigDict
import stub
def get_config(variant="default"):
    config = stub.default_config()
    config.size = {"default": 1, "big": 2}[variant]
    return config
"""


def default_config():
    return ConfigDict(
        {
            "experiment": "stub",
            "size": 1,
            "added": (),
            "source": config_dict.placeholder(str),
            "log_every": 1,
        }
    )


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """An experiment that notes its calls; `stub.work` is done before its results."""
    module = types.ModuleType("stub")
    module.calls, module.work = [], lambda config, folder: None
    module.default_config = default_config

    def run(config, folder):
        module.calls.append(folder.name)
        module.work(config, folder)
        return {"size": config.size, "added": list(config.added)}

    module.EXPERIMENT = harness.Experiment(
        name="stub",
        defaults=default_config,
        plan=lambda config: config,
        run=run,
        tables=lambda results: [harness.measures("Stubs", results)],
        may_change=("added",),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.EXPERIMENTS, "stub", module.EXPERIMENT)
    (tmp_path / "stub.py").write_text(STUB)
    return module


def make_config(folder, **overrides):
    """Two stages, the second of which needs the first; overrides by stage."""
    common = {"section": "failure"}
    return reproduce.make_config(
        "Title",
        folder,
        {
            "first": reproduce.stage(
                "stub.py:big", *overrides.get("first", ()), label="One", **common
            ),
            "second": reproduce.stage(
                *("stub.py", *overrides.get("second", ())),
                needs={"source": "first"},
                label="Two",
                **common,
            ),
        },
    )


def run(tmp_path, config=None, **options):
    config = make_config(tmp_path) if config is None else config
    return reproduce.run(config, tmp_path / "w", command=COMMAND, **options)


def record_of(tmp_path, name):
    return json.loads((tmp_path / "w" / "stages" / f"{name}.json").read_text())


def states(tmp_path, config=None):
    config = make_config(tmp_path) if config is None else config
    lines = reproduce.list_stages(config, tmp_path / "w").splitlines()[2:]
    return [line.split()[1] for line in lines]


def test_stages_are_made_once_in_order_and_recorded(stub, tmp_path, capsys):
    assert states(tmp_path) == ["missing", "missing"]
    outcome = run(tmp_path)
    assert outcome.left == () and stub.calls == ["first", "second"]
    assert "stage 1/2 first: " in capsys.readouterr().err
    config = json.loads((tmp_path / "w/runs/second/config.json").read_text())
    assert config["source"] == str(tmp_path / "w/runs/first")
    record = record_of(tmp_path, "second")
    [session] = record["sessions"]
    assert session["ended"] == "finished" and session["seconds"] > 0
    assert {"git_commit", "jax", "cpu", "cores", "accelerator"} <= session.keys()
    assert record["needs"] == {"first": record_of(tmp_path, "first")["made"]}
    assert run(tmp_path).left == () and stub.calls == ["first", "second"]
    assert capsys.readouterr().err == "stage 1/2 first: done\nstage 2/2 second: done\n"
    assert states(tmp_path) == ["done", "done"]


def test_a_changed_config_is_made_again_with_all_that_needs_it(stub, tmp_path, capsys):
    run(tmp_path)
    changed = make_config(tmp_path, first=("size=3",))
    assert states(tmp_path, changed) == ["stale", "stale"]
    run(tmp_path, changed)
    assert stub.calls == ["first", "second"] * 2
    said = capsys.readouterr().err
    assert "config.size was 2 and is now 3; it is made again" in said
    assert "'first' has been made again since; it is made again" in said
    # What is only logged more often, or where things lie, changes nothing.
    run(tmp_path, make_config(tmp_path, first=("size=3", "log_every=5")))
    shutil.move(tmp_path / "w", tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "w")
    assert states(tmp_path, changed) == ["done", "done"]
    assert len(stub.calls) == 4


def test_a_folder_that_was_moved_is_still_done_and_gets_its_new_paths(stub, tmp_path):
    run(tmp_path)
    (tmp_path / "w").rename(tmp_path / "other")
    config = make_config(tmp_path)
    reproduce.run(config, tmp_path / "other")
    assert len(stub.calls) == 2
    saved = json.loads((tmp_path / "other/runs/second/config.json").read_text())
    assert saved["source"] == str(tmp_path / "other/runs/first")


def test_redo_makes_a_stage_again(stub, tmp_path):
    run(tmp_path)
    (tmp_path / "w/runs/first/old").touch()
    run(tmp_path, redo=["first"])
    assert stub.calls == ["first", "second"] * 2
    assert not (tmp_path / "w/runs/first/old").exists()


def test_what_only_adds_keeps_the_run(stub, tmp_path, capsys):
    run(tmp_path)
    kept = tmp_path / "w/runs/second/kept"
    kept.touch()
    run(tmp_path, make_config(tmp_path, second=("added=(4,)",)))
    assert stub.calls[2:] == ["second"] and kept.exists()
    assert "is now [4]; it resumes" in capsys.readouterr().err
    assert len(record_of(tmp_path, "second")["sessions"]) == 2


@pytest.mark.slow
def test_a_run_with_a_damaged_model_goes_on(stub, tmp_path, capfd, monkeypatch):
    def work(config, folder):
        cnns.save_canonicalizer(folder / "canonicalizer")

    stub.work = work
    experiment = dataclasses.replace(
        stub.EXPERIMENT, check_output=autoencode.EXPERIMENT.check_output
    )
    monkeypatch.setitem(registry.EXPERIMENTS, "stub", experiment)
    run(tmp_path)
    weights = tmp_path / "w/runs/first/canonicalizer/weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    assert states(tmp_path) == ["corrupt", "stale"]
    calls = len(stub.calls)
    run(tmp_path)
    assert stub.calls[calls:] == ["first"] and weights.read_bytes() == content
    assert states(tmp_path) == ["done", "done"]
    assert re.search(
        r"canonicaliser .* is damaged .*; it resumes", capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results.json", "{", r"results.json is not JSON .* it resumes"),
        ("results.json", "[]", r"results.json is not a JSON object; it resumes"),
        ("config.json", "{", r"config.json is not JSON .* it is made again"),
        ("config.json", None, r"has no config.json; it is made again"),
    ],
)
def test_a_damaged_run_is_mended(stub, tmp_path, capfd, file, content, message):
    run(tmp_path)
    path, kept = (tmp_path / "w/runs/first" / name for name in (file, "kept"))
    kept.touch()
    path.unlink() if content is None else path.write_text(content)
    assert states(tmp_path) == ["corrupt", "stale"]
    run(tmp_path)
    assert kept.exists() == (file == "results.json")
    assert states(tmp_path) == ["done", "done"]
    said = capfd.readouterr().err
    assert re.search(message, said), said


def test_a_run_found_there_is_taken_over_but_never_removed(stub, tmp_path):
    folder = tmp_path / "w/runs/first"
    harness.run(
        stub.EXPERIMENT, harness.load_config_file(f"{tmp_path}/stub.py:big"), folder
    )
    run(tmp_path)
    assert stub.calls == ["first", "second"]
    record = record_of(tmp_path, "first")
    assert record["adopted"] and record["sessions"][0]["seconds"] is None
    with pytest.raises(reproduce.StageError, match="was not made by this command"):
        run(tmp_path, make_config(tmp_path, first=("size=3",)))
    assert (folder / "results.json").exists()


def test_a_run_that_was_killed_goes_on(stub, tmp_path, capsys):
    def die(config, folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    stub.work = die
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert states(tmp_path) == ["unfinished", "missing"]
    stub.work = lambda config, folder: None
    run(tmp_path)
    assert "stage 1/2 first: has no results.json; it resumes" in capsys.readouterr().err
    sessions = record_of(tmp_path, "first")["sessions"]
    assert [session["ended"] for session in sessions] == ["stopped", "finished"]
    assert (tmp_path / "w/runs/first/half").exists()


def test_stages_run_alone_unless_they_need_others(stub, tmp_path):
    with pytest.raises(ValueError, match=r"'second' needs 'first', which is missing"):
        run(tmp_path, only=["second"])
    assert run(tmp_path, only=["first"]).left == () and stub.calls == ["first"]
    run(tmp_path, only=["second"])
    assert stub.calls == ["first", "second"]
    for option in ("only", "redo"):
        with pytest.raises(ValueError, match=rf"--{option} names no stage: 'third'"):
            run(tmp_path, **{option: ["third"]})


def test_a_failure_names_the_stage_and_how_to_run_it_alone(stub, tmp_path):
    def fail(config, folder):
        raise FloatingPointError("the loss is nan")

    stub.work = fail
    message = "stage 'first' failed: the loss is nan. To run it alone: "
    with pytest.raises(reproduce.StageError, match=message + COMMAND + " --only=first"):
        run(tmp_path)
    report = (tmp_path / "w/report.md").read_text()
    assert "One (`first`) is unfinished: failed: the loss is nan" in report
    assert record_of(tmp_path, "first")["sessions"][0]["error"] == "the loss is nan"


def test_a_time_limit_stops_between_steps_of_python(stub, tmp_path):
    def wait(config, folder):
        for _ in range(1000):
            time.sleep(0.01)

    stub.work = wait
    outcome = run(tmp_path, time_limit="0.2s")
    assert outcome.left == ("first", "second") and outcome.report.exists()
    [session] = record_of(tmp_path, "first")["sessions"]
    assert session["ended"] == "stopped" and session["seconds"] < 5
    stub.work = lambda config, folder: None
    assert run(tmp_path, time_limit="1h").left == ()


def test_a_time_limit_asks_what_saves_its_state_to_stop(stub, tmp_path):
    def save_when_asked(config, folder):
        asked = []
        previous = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        try:
            while not asked:
                time.sleep(0.01)
        finally:
            signal.signal(signal.SIGTERM, previous)
        raise training.Interrupted(signal.SIGTERM, 1, 2, saved=True)

    stub.work = save_when_asked
    assert run(tmp_path, time_limit="0.5s").left == ("first", "second")
    assert record_of(tmp_path, "first")["sessions"][0]["ended"] == "stopped"
    stub.work = lambda *_: os.kill(os.getpid(), signal.SIGALRM)  # none is expected now
    previous = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    assert run(tmp_path).left == ()
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"needs": ("source=later",)}, "'first': it needs 'later', which is not a"),
        ({"set": ("sise=3",)}, "'first': unknown config key 'sise': did you mean"),
        ({"set": ("size",)}, "'size' is not of the form key=value"),
        ({"section": "other"}, "section is 'other', known are"),
        ({"config": "nothing.py"}, "'first': no config file"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(stub, tmp_path, change, message):
    config = make_config(tmp_path)
    config.stages.first.update(change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(tmp_path, config)
    assert not (tmp_path / "w").exists()
    with pytest.raises(ValueError, match="is 'stub', not 'reproduce'"):
        run(tmp_path, default_config())


def test_a_damaged_zoo_is_made_again(stub, tmp_path, capsys):
    options = ("data.num_images=4", "fit.num_steps=2", "architecture.hidden_sizes=(4,)")
    stage = reproduce.stage("zoo_digits.py", *options, section="data", label="Zoo")
    config = reproduce.make_config("Title", configs.CONFIGS, {"inrs": stage})
    run(tmp_path, config)
    path = tmp_path / "w/zoos/inrs.zoo"
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes(100))
    run(tmp_path, config)
    assert "inrs.zoo' is damaged" in (said := capsys.readouterr().err)
    assert "it is made again" in said
    assert path.read_bytes() == content
    # One that lies there without a record is taken over if it is the right one.
    shutil.rmtree(tmp_path / "w/stages")
    run(tmp_path, config)
    assert record_of(tmp_path, "inrs")["adopted"]
    shutil.rmtree(tmp_path / "w/stages")
    config.stages.inrs.set = (*options, "seed=1")
    with pytest.raises(reproduce.StageError, match=r"'inrs' failed: .* another zoo"):
        run(tmp_path, config)
    assert path.read_bytes() == content
