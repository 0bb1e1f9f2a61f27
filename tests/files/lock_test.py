import os
import subprocess
import sys

import pytest

from symmerge_jax import files

HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Return a function that starts a process which holds a lock."""
    started = []

    def hold(path):
        command = [sys.executable, "-c", HOLD, path]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_is_refused_until_it_has_ended(tmp_path, holder):
    path = tmp_path / ".lock"
    process = holder(path)
    message = rf"another process \(pid {process.pid}\) works in 'the folder'"
    with pytest.raises(ValueError, match=message), files.lock(path, "the folder"):
        pass
    process.kill()
    process.wait()
    assert path.exists()  # nobody cleaned up after it
    with files.lock(path, "the folder"):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def test_this_process_may_take_it_again(tmp_path):
    path = tmp_path / ".lock"
    with files.lock(path, "here"):
        with files.lock(path, "here"):
            pass
        assert path.exists()
    assert not path.exists()


def test_locks_end_in_any_order(tmp_path):
    path = tmp_path / ".lock"
    first, second = (files.lock(path, "here") for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert path.exists()
    second.__exit__(None, None, None)
    assert not path.exists()


def test_a_folder_may_be_removed_meanwhile(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with files.lock(folder / ".lock", folder):
        (folder / ".lock").unlink()
        folder.rmdir()


def test_an_error_releases_it(tmp_path, holder):
    path = tmp_path / ".lock"
    with pytest.raises(KeyboardInterrupt), files.lock(path, "here"):
        raise KeyboardInterrupt
    holder(path)
