"""The folder of a run: config, versions, and a guard against another run's config."""

import contextlib
import errno
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Collection, Iterator
from typing import Any

import jax

import symmerge_jax
from experiments.harness import _config, _files
from symmerge_jax import files

PathLike = str | os.PathLike

LOCK = ".lock"

MAY_CHANGE = (
    "checkpoint_every",
    "evaluate_every",
    "keep_checkpoints",
    "log_every",
)
"""Last parts of the config keys that may differ when a run is resumed: they change
what is written and when (so also which step is the best), never the training.
`num_steps` is none of them, because the learning rate depends on it."""

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def open_workdir(
    workdir: PathLike,
    config: _config.ConfigDict,
    *,
    may_change: Collection[str] = MAY_CHANGE,
) -> pathlib.Path:
    """Make the folder of a run, or open it again for the same config.

    It then holds `config.json`, and `versions.json` with one record for each
    environment that the run has been started in.

    Args:
      workdir: the folder; a new one, an empty one, or one of an earlier start.
      config: the complete config of the run.
      may_change: keys that may differ from the earlier start: dotted, or only their
        last parts.

    Returns:
      The absolute path of the folder.

    Raises:
      ValueError: a folder of another config (names the keys that differ, with both
        values), or one with other files.
    """
    path = pathlib.Path(workdir).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(f"workdir {path} is a file: choose a folder")
    file = path / "config.json"
    if file.exists():
        _check_same(path, _config.load_config(file), config, may_change)
    elif path.exists() and {file.name for file in path.iterdir()} - {LOCK}:
        raise ValueError(
            f"workdir {path} is not empty and holds no config.json, so it is not the "
            "folder of a run: choose another --workdir"
        )
    path.mkdir(parents=True, exist_ok=True)
    _config.save_config(file, config)
    _record_versions(path / "versions.json")
    return path


def check_shared(folder: pathlib.Path, config: _config.ConfigDict) -> None:
    """Check in one of many processes that it shares folder and config with the first.

    Args:
      folder: what the first process has opened.
      config: the complete config of this process.

    Raises:
      ValueError: the folder is another one here, or the config differs.
    """
    file = folder / "config.json"
    if not file.exists():
        raise ValueError(
            f"workdir {folder}: process {jax.process_index()} does not see"
            f" {file.name}, which process 0 has written there: choose a folder that all"
            " processes share"
        )
    remedy = "Start all processes with the same config"
    _check_same(folder, _config.load_config(file), config, (), remedy)


def merge_config(
    workdir: PathLike,
    config: _config.ConfigDict,
    *,
    may_change: Collection[str] = (),
) -> _config.ConfigDict:
    """Return the config of a run with other values; nothing is written.

    Args:
      workdir: folder of a run.
      config: keys and values; those of the run that it does not have stay.
      may_change: keys that may differ from those of the run, as for `open_workdir`.

    Raises:
      FileNotFoundError: no run.
      ValueError: another key differs; names both values.
    """
    path = pathlib.Path(workdir)
    old = _config.load_config(path / "config.json")
    new = _config.ConfigDict(old.to_dict())
    new.update(_config.plain_config(config))
    remedy = "What was trained is measured: omit these keys, or train again"
    _check_same(path, old, new, {*MAY_CHANGE, *may_change}, remedy)
    return new


@contextlib.contextmanager
def locked(workdir: PathLike) -> Iterator[None]:
    """Let no other process into a folder while the block runs.

    Folders that are missing are made, and removed again if they stay empty.

    Raises:
      ValueError: another process works in the folder; names both.
      OSError: the folder is read-only, so that nothing can be kept there.
    """
    path = pathlib.Path(workdir).expanduser().absolute()
    if path.exists() and not path.is_dir():
        yield  # the function tells
        return
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        with files.lock(path / LOCK, path):
            yield
    except OSError as error:
        is_ours = error.filename is not None and pathlib.Path(error.filename).name
        if is_ours != LOCK or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}, so no results can be kept here: work on a copy",
            str(path),
        ) from error
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def versions() -> dict[str, Any]:
    """Return versions of the packages, the hardware, and the git commit if any."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return {
        "symmerge_jax": symmerge_jax.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "device_kind": kind,
        "num_devices": count,
        "num_cpus": os.cpu_count(),
        "cpu": _cpu(),
        "cores": cores,
        "accelerator": None if jax.default_backend() == "cpu" else f"{count} x {kind}",
    }


def _cpu() -> str:
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2] for line in lines if "model name" in line]
        if names:
            return names[0].strip()
    return platform.processor() or "unknown"


def _check_same(
    path: pathlib.Path,
    old: _config.ConfigDict,
    new: _config.ConfigDict,
    may_change: Collection[str],
    remedy: str = "Choose another --workdir, or give the earlier values to resume",
) -> None:
    old_values = dict(_config.flatten_config(old))
    new_values = dict(_config.flatten_config(_config.plain_config(new)))
    differences = [
        f"{key} was {old_values.get(key, 'absent')!r} and is now "
        f"{new_values.get(key, 'absent')!r}"
        for key in sorted(old_values.keys() | new_values.keys())
        if old_values.get(key, _ABSENT) != new_values.get(key, _ABSENT)
        and not {key, key.rpartition(".")[2]} & set(may_change)
    ]
    if differences:
        raise ValueError(
            f"workdir {path} belongs to another config: {'; '.join(differences)}. "
            f"{remedy}"
        )


_ABSENT = object()


def _record_versions(file: pathlib.Path) -> None:
    records = _files.read_json(file) if file.exists() else []
    record = versions()
    if record not in records[-1:]:
        _files.write_json(file, [*records, record])


def _git_commit() -> str | None:
    """Return the commit of the source tree, where the package is tracked by git."""
    here = pathlib.Path(__file__)

    def git(*arguments: str) -> str:
        options: Any = {"capture_output": True, "text": True, "check": True}
        return subprocess.run(["git", *arguments], cwd=here.parent, **options).stdout

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return None
