import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]

CONFIG = """
from ml_collections import ConfigDict
def get_config():
    return ConfigDict({"num_steps": 10, "model": {"width": 3}, "what": "print"})
"""

# One process forks for each case, because importing jax is what takes the time.
SCRIPT = """
import gc, json, logging, os, pathlib, signal, sys, time
import jax
from experiments import harness
from symmerge_jax import training
# Shells start what runs in the background with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = pathlib.Path(__file__).parent
FLAG = harness.ConfigFlag(str(folder / "config.py"))
def main(argv):
    config = FLAG.value
    if config.what == "print":
        print(config.num_steps, argv[1:], flush=True)
    elif config.what == "ours":
        training.make_mesh([])
    elif config.what == "bug":
        int("x")
    elif config.what == "file":
        open("/nowhere/at/all")
    elif config.what == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        print("x")
    elif config.what == "reader":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        print("x")
    elif config.what == "ascii":
        print("λ")
    elif config.what == "code":
        return 7
    elif config.what.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[config.what])
        time.sleep(5)
    elif config.what == "log":
        logging.getLogger("jax._src.xla_bridge").info("a backend is missing")
        logging.getLogger("orbax").warning("a disk is full")
gc.collect()
gc.freeze()  # else each process ends by collecting what was imported
for index, arguments in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        for stream in (1, 2):
            mode = os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(folder / f"{index}.{stream}", mode), stream)
        if arguments == ["--config.what=ascii"]:
            sys.stdout.reconfigure(encoding="ascii")
        harness.run_main(main, ["script", *arguments])
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""

CASES = [
    (["--config.num_steps=12", "more"], 0, None, "12 ['more']"),
    (["--config.num_step=1"], 2, "unknown config key 'num_step': did you", ""),
    (["--config.width=1"], 2, "did you mean 'model.width'?", ""),
    (["--config.num_steps=x"], 2, "key 'num_steps' must be of type int, got 'x'", ""),
    (["--config=nowhere.py"], 2, "no config file nowhere.py", ""),
    (["--confg=1"], 2, "Unknown command line flag 'confg'", ""),
    (["--config.what=ours"], 2, "A mesh needs at least one device", ""),
    (["--config.what=file"], 2, "/nowhere/at/all", ""),
    (["--config.what=full"], 2, "'standard output': make room there, then run", ""),
    (["--config.what=reader"], 141, None, ""),
    (["--config.what=ascii"], 0, None, "\\u03bb"),
    (["--config.what=code"], 7, None, ""),
    (["--config.what=log"], 0, "a disk is full", ""),
    (["--config.what=log", "--verbosity=0"], 0, "a backend is missing", ""),
    (["--config.what=log", "--debug"], 0, "a backend is missing", ""),
    (["--config.what=SIGINT"], 130, "stopped by SIGINT: nothing is half", ""),
    (["--config.what=SIGTERM"], 143, "stopped by SIGTERM: nothing is half", ""),
    (["--config.what=bug"], 1, "Traceback", ""),
    (["--config.what=ours", "--debug"], 1, "Traceback", ""),
]


def environment():
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'launch'}",
        "PYTHONUNBUFFERED": "",
        "JAX_PLATFORMS": "cpu",
    }


@pytest.mark.slow
def test_errors_end_in_one_line_and_bugs_in_a_traceback(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = json.dumps([case[0] for case in CASES])
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", arguments],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = [int(line) for line in done.stdout.split()]
    for index, (case, code) in enumerate(zip(CASES, codes, strict=True)):
        given, expected_code, error, output = case
        stdout, stderr = (
            (tmp_path / f"{index}.{stream}").read_text() for stream in (1, 2)
        )
        assert code == expected_code, (given, stderr)
        assert output in stdout
        assert error in stderr if error else not stderr, (given, stderr)
        assert ("a backend is missing" in stderr) == (error == "a backend is missing")
        if code == 2:
            assert stderr.startswith("error: ")
            assert stderr.count("\n") == 1


TRAIN = """
import pathlib, sys, time
import jax, jax.numpy as jnp, numpy as np
from experiments import harness
from symmerge_jax import training
folder = pathlib.Path(sys.argv[1])
def main(argv):
    optimizer, schedule_fn = training.make_optimizer(0.1, 60)
    def loss_fn(params, batch, key):
        return jnp.mean(jnp.square(batch - params)), {}
    def batch_fn(step):
        if not (folder / "checkpoints").exists():
            (folder / "started").touch()
            time.sleep(0.05)
        return np.full((4, 2), step, np.float32)
    step_fn = training.make_train_step(loss_fn, optimizer)
    state = training.init_state(jax.random.key(0), jnp.zeros(2), optimizer)
    if training.checkpoint_steps(folder / "checkpoints"):
        state, _ = training.restore_checkpoint(folder / "checkpoints", state)
    training.truncate_metrics(folder / "metrics.jsonl", int(state.step))
    print("start", int(state.step))
    hooks = [
        training.checkpoint_hook(folder / "checkpoints", 1000),
        training.log_hook(folder / "metrics.jsonl", 1),
    ]
    state = training.train(state, step_fn, batch_fn, num_steps=60, hooks=hooks)
    print("end", np.asarray(state.params).tobytes().hex())
harness.run_main(main)
"""


def start(script, folder):
    return subprocess.Popen(
        [sys.executable, script, folder],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_sigterm_in_a_process_saves_and_the_same_command_goes_on(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    ends = []
    for name in ("stopped", "whole"):
        folder = tmp_path / name
        folder.mkdir()
        process = start(script, folder)
        if name == "stopped":
            while not (folder / "started").exists():
                time.sleep(0.02)
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate()
            assert process.returncode == 128 + signal.SIGTERM
            (line,) = stderr.splitlines()
            assert line.startswith("Stopped by SIGTERM after step")
            assert line.endswith("The state is saved: start it again to resume.")
            process = start(script, folder)
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert ("start 0" in stdout) == (name == "whole")
        ends.append(stdout.split("end ")[1])
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 60
    assert ends[0] == ends[1]
