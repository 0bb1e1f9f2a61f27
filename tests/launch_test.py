"""The scripts, each once, as a user starts them: three processes in all.

A process forks for each command, because importing jax is what takes the time; what
the scripts import besides is imported once too, and frozen: else each process ends by
collecting it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import symmerge_jax
from experiments import harness
from symmerge_jax import zoo

ROOT = pathlib.Path(__file__).parents[1]

# argv[1]: JSON list of commands; the output of command i goes to the files i.1, i.2.
RUNNER = """
import gc, json, os, pathlib, runpy, sys
import jax, sklearn.datasets
from experiments import registry
from experiments.paper import reproduce
folder = pathlib.Path(__file__).parent
gc.collect()
gc.freeze()
for index, command in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        for stream in (1, 2):
            mode = os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(folder / f"{index}.{stream}", mode), stream)
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def run_scripts(folder, commands):
    """Return (exit code, stdout, stderr) of each command, run one after the other."""
    (folder / "runner.py").write_text(RUNNER)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    commands = [[f"launch/{name}.py", *map(str, flags)] for name, *flags in commands]
    done = subprocess.run(
        [sys.executable, folder / "runner.py", json.dumps(commands)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = [int(line) for line in done.stdout.split()]
    return [
        (code, *((folder / f"{index}.{stream}").read_text() for stream in (1, 2)))
        for index, code in enumerate(codes)
    ]


SMOKE = ["--config=launch/configs/paper_smoke.py", "--workdir={}/run"]
DEEP_ALIGN = "--config=launch/configs/deep_align_mlp.py:smoke"
TRAINED = [DEEP_ALIGN, "--workdir={}/trained"]
ERRORS = [
    (["train", "more"], "Unknown argument 'more'"),
    (["train", "--config.num_step=3"], "did you mean 'num_steps'"),
    (["train", "--config=launch/configs/smoke.py:huge"], "has no variants"),
    (["train", "--config=launch/configs/mnist_inr_cpu.py:huge"], "Variants are"),
    (["train", "--config=launch/configs/zoo_digits.py"], "to launch/make_zoo.py"),
    (["train", SMOKE[0]], "give it to launch/reproduce.py"),
    (["train", "--config.seed=-5"], "config.seed must be from 0 to 2**63, got -5"),
    (
        ["train", "--config.encoder={{}}"],
        "'encoder' is a group of keys, and {} changes",
    ),
    (["train", "--workdir="], "--workdir=: is empty: give a folder"),
    (["reproduce", SMOKE[0], "--workdir="], "--workdir=: is empty: give a folder"),
    (["reproduce", *SMOKE, "--redo=x", "--list"], "no effect with --list"),
    (["make_zoo", "--config=launch/configs/smoke.py", "--out={}/a"], "launch/train.py"),
    (["make_zoo", "--inspect={}"], "is a folder: name a file"),
    (["make_zoo", SMOKE[0], "--out={}"], "is a folder: name a file"),
    (["train", "--config.experiment=x"], "config.experiment is 'x'"),
    (["train", "--config.loss=x", "--workdir={}/run"], "loss is 'x', known are"),
    (["evaluate"], "workdir"),
    (["evaluate", "--workdir={}/nowhere"], "no config in"),
    (["evaluate", DEEP_ALIGN, "--workdir={}/nowhere"], "check the path, or train fir"),
    (["evaluate", *TRAINED, "--config.num_points=5"], "num_points was 3 and is now 5"),
    (
        ["evaluate", *TRAINED, "--config.methods=('x',)"],
        "config.methods has 'x', known",
    ),
    (["evaluate", *TRAINED, "--config.methods=('naive',)"], "deep_align_0/matcher"),
    (
        ["evaluate", "--workdir={}/trained", "--config.num_points=5"],
        "is now 5. What was trained is measured: omit these keys",
    ),
    (["evaluate", "--workdir={}/trained", "--config.num_point=5"], "did you mean"),
    (["plot"], "--workdir=FOLDER or --results=FILE.json"),
    (["plot", "--workdir={}/nowhere"], "no config in"),
    (["plot", "--workdir={}/trained", "more"], "Unknown argument 'more'"),
    (["plot", "--workdir=a", "--experiment=predict"], "goes with --results"),
    (["plot", "--results={}/a.json"], "needs --experiment=NAME and --out=FOLDER"),
    (["canonicalize", "--weights=a.npz"], "--out is missing: give --out=..."),
    (["merge", "a", "--out={}/a.npz", "--config.help"], "arguments: --config.help"),
    (["make_zoo", "--config.help"], "no config: give --config=file.py"),
    (["canonicalize", "--weights=a.npz", "--out={}/b.npz"], "No such file: 'a.npz'"),
    (
        ["canonicalize", "--weights={}/a.npz", "--out={}/b.npz", "--architecture={{"],
        "the architecture is not JSON",
    ),
    (
        ["canonicalize", "--weights={}/a.npz", "--out={}/b.npz"],
        """--architecture='{"kind":"mlp","layer_sizes":[3,2],"activation":"relu"}'""",
    ),
    (
        ["canonicalize", "--weights={}/a.npz", "--out={}/b.npz", "--key=a.b"],
        "a.npz' has no part 'a'; there are ['dense_0']",
    ),
    (["make_zoo", "--inspect={}/nowhere.zoo", "more"], "Unknown argument 'more'"),
    (["make_zoo", "--inspect=a.zoo", "--step=0"], "go with --import_small_cnn"),
    (["make_zoo", "--import_small_cnn={}/zoo", "--out={}/b.zoo"], "No folder"),
    (["reproduce", "--config=launch/configs/paper_smoke.py"], "workdir"),
    (["reproduce", *SMOKE, "more"], "Unknown argument 'more'"),
    (["reproduce", *SMOKE, "--only=x"], "--only names no stage: 'x', known are inrs,"),
    (["reproduce", *SMOKE, "--only=small"], "stage 'small' needs 'inrs', which is"),
    (["reproduce", *SMOKE, "--time_limit=9"], "is given as 540s, 9m or 1.5h"),
    (
        ["reproduce", "--config=launch/configs/smoke.py", "--workdir={}/run"],
        "train.py.",
    ),
]
SCRIPTS = [
    "train",
    "evaluate",
    "plot",
    "canonicalize",
    "merge",
    "make_zoo",
    "reproduce",
]


CONFIGURED = [  # scripts whose --config.help needs no other flag
    ["train"],
    ["evaluate", DEEP_ALIGN],
    ["make_zoo", "--config=launch/configs/zoo_digits.py"],
    ["reproduce", SMOKE[0]],
]


@pytest.mark.slow
def test_help_works_and_errors_are_one_line(tmp_path):
    smoke = harness.load_config_file(ROOT / DEEP_ALIGN.partition("=")[2])
    trained = harness.open_workdir(tmp_path / "trained", smoke)
    layer = {"kernel": np.ones((3, 2)), "bias": np.ones(2)}
    symmerge_jax.save(tmp_path / "a.npz", {"dense_0": layer})
    commands = [[text.format(tmp_path) for text in command] for command, _ in ERRORS]
    commands += [[name, "--help"] for name in SCRIPTS]
    commands += [[*command, "--config.help"] for command in CONFIGURED]
    done = run_scripts(tmp_path, commands)
    for (command, message), (code, _, stderr) in zip(ERRORS, done, strict=False):
        assert code == 2, (command, stderr)
        assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
        assert message in stderr, (command, stderr)
    helps = done[len(ERRORS) :]
    keys = helps[len(SCRIPTS) :]
    for name, (code, stdout, stderr) in zip(SCRIPTS, helps, strict=False):
        assert (code, stderr) == (0, "")
        is_ours = name in ("canonicalize", "merge")
        assert (f"symmerge-jax {name}" if is_ours else f"launch/{name}.py") in stdout
        assert ("--debug" if is_ours else "--[no]debug") in stdout
        assert ("--config.help" in stdout) == (
            name not in ("canonicalize", "merge", "plot")
        )
    for command, (code, stdout, stderr) in zip(CONFIGURED, keys, strict=True):
        assert (code, stderr) == (0, ""), command
        lines = stdout.splitlines()
        assert lines and all(line.startswith("--config.") for line in lines)
    assert "--config.seed=0\n" in keys[0][1]
    assert "--config.encoder.num_layers=" in keys[0][1]
    assert not (tmp_path / "run").exists()
    # What was refused left no trace, what was not is in the config.
    smoke.methods = ("naive",)
    kept = harness.load_config(trained / "config.json")
    assert harness.config_hash(kept) == harness.config_hash(smoke)


@pytest.mark.slow
def test_train_evaluate_and_canonicalize(tmp_path):
    workdir, form = tmp_path / "run", tmp_path / "form.npz"
    params = tmp_path / "a.npz"
    train = ["train", "--config=launch/configs/smoke.py", f"--workdir={workdir}"]
    train += ["--config.encoder.kind=probe", "--config.encoder.num_layers=4"]
    train += ["--config.architecture.hidden_sizes=4,"]
    [trained] = run_scripts(tmp_path, [train])
    code, stdout, stderr = trained
    assert code == 0, stderr
    assert "psnr " in stdout and stdout.rstrip().endswith(f"are in {workdir}")
    assert "Traceback" not in stderr and "Warning" not in stderr
    results = json.loads((workdir / "results.json").read_text())

    inrs = zoo.load(workdir / "inrs.zoo")
    symmerge_jax.save(params, inrs.params, architecture=inrs.architecture)
    closed = ["canonicalize", f"--weights={params}", f"--out={tmp_path / 'b.npz'}"]
    learned = [*closed[:2], f"--out={form}", f"--canonicalizer={workdir}"]
    evaluate = ["evaluate", f"--workdir={workdir}"]
    commands = [evaluate, closed, learned]
    if "SYMMERGE_DATA_DIR" in os.environ:
        name = "mnist_png_testing_6_3665_augmented_0/checkpoints/model_final.pth"
        source = pathlib.Path(os.environ["SYMMERGE_DATA_DIR"], "mnist_inrs", name)
        shutil.copy(source, tmp_path / "net.pth")
        architecture = json.dumps({**inrs.architecture, "layer_sizes": [2, 32, 32, 1]})
        pth = ["canonicalize", f"--weights={tmp_path / 'net.pth'}"]
        pth += [f"--out={tmp_path / 'net.safetensors'}"]
        commands.append([*pth, f"--architecture={architecture}"])
    done = run_scripts(tmp_path, commands)
    assert [code for code, _, _ in done] == [0] * len(commands), done
    assert f"mse_median {results['mse_median']:>13.5g}".split() == (
        next(line.split() for line in done[0][1].split("\n") if "mse_median" in line)
    )
    for (_, stdout, _), form_name in zip(done[1:], ("closed", "decoded"), strict=False):
        assert ["form", form_name] in [line.split() for line in stdout.split("\n")]
    assert symmerge_jax.load(form)["dense_0"]["kernel"].shape == (64, 2, 4)


@pytest.mark.slow
def test_reproduce_stops_goes_on_and_reports(tmp_path):
    reproduce = ["reproduce", *(text.format(tmp_path) for text in SMOKE)]
    done = run_scripts(
        tmp_path,
        [
            [*reproduce, "--only=inrs"],
            [*reproduce, "--only=inrs,small", "--time_limit=0.5s"],
            [*reproduce, "--list"],
            [*reproduce, "--report"],
        ],
    )
    assert [code for code, _, _ in done] == [0, 3, 0, 0], done
    (_, made, said), (_, stopped, _), (_, listed, _), (_, reported, _) = done
    assert "stage 1/1 inrs: launch/configs/zoo_digits.py" in said
    report = f"the report is {tmp_path}/run/report.md, and .html beside it"
    assert report in made and report in reported
    command = f"python launch/reproduce.py {' '.join(reproduce[1:])}"
    assert f"the time is up; left are small: {command} --only=inrs,small" in stopped
    states = dict(line.split()[:2] for line in listed.splitlines()[2:])
    assert states["inrs"] == "done" and states["latent_maps"] == "missing"
    assert states["small"] in ("missing", "unfinished")
    text = (tmp_path / "run/report.md").read_text()
    assert f"`{command} --only=latent_maps`" in text and "1 of 12 stages" in text
