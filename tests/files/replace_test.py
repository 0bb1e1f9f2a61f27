import errno
import os
import resource
import signal

import numpy as np
import pytest

from symmerge_jax import files


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with files.replacing(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    with pytest.raises(type(error)), files.replacing(path) as file:
        file.write(b"half")
        raise error
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("a.bin", b"older")
    ]


@pytest.fixture
def small_files():
    """Let this process write no file of more than 4 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


ARRAYS = {"a": np.zeros(10_000)}


def write_npz(path):
    with files.replacing(path) as file:
        files.write_npz(file, ARRAYS)


@pytest.mark.parametrize(
    "write", [write_npz, lambda path: files.write_safetensors(path, ARRAYS)]
)
def test_a_failed_write_names_the_file_and_leaves_nothing(tmp_path, small_files, write):
    path = tmp_path / "a.bin"
    with pytest.raises(OSError) as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_errors_without_a_name_get_one(number):
    with pytest.raises(OSError) as caught, files.naming("here"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: 'here'"


def test_names_that_errors_have_stay(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), files.naming("here"):
        (tmp_path / "nowhere").read_bytes()


@pytest.mark.parametrize(
    ("name", "error"),
    [("folder", IsADirectoryError), ("a file/a.bin", FileExistsError)],
)
def test_what_is_in_the_way_is_named(tmp_path, name, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a file").touch()
    message = name.split("/")[0]
    with pytest.raises(error, match=message), files.replacing(tmp_path / name):
        pass
