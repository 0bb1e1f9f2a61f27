"""What is there of each stage of a reproduction, and the records that tell its past.

Beside `zoos/` and `runs/` lies `stages/NAME.json`: the config, when the output was
begun (`made`, which also tells one making from the next), that of everything it
needed, whether it was found there (`adopted`), and every session with its seconds,
versions and hardware.
"""

import datetime
import functools
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from experiments import harness
from experiments.paper import _plan
from symmerge_jax import zoo

Stage = _plan.Stage

STATES = ("done", "missing", "unfinished", "stale", "corrupt")
"""A stage that is unfinished resumes; one that is stale or corrupt is made again."""


class Status(NamedTuple):
    """What is there of a stage.

    Attributes:
      state: one of `STATES`.
      reason: why it is not "done", in a few words.
      continues: whether what is there of a stale or corrupt stage is of use: only keys
        changed that add something, or only results are damaged.
    """

    state: str
    reason: str = ""
    continues: bool = False


def statuses(
    plan: Mapping[str, Stage], workdir: pathlib.Path, *, redo: Collection[str] = ()
) -> dict[str, Status]:
    """Return the status of every stage; those of `redo` count as stale."""
    found: dict[str, Status] = {}
    for name, stage in plan.items():
        found[name] = status(stage, found, workdir, redo=name in redo)
    return found


def status(
    stage: Stage,
    others: Mapping[str, Status],
    workdir: pathlib.Path,
    *,
    redo: bool = False,
) -> Status:
    """Return the status of a stage, given those of the stages before it.

    Zoos are read to the end. With `redo` the stage is stale in any case.
    """
    parts = _parts(stage)
    if not stage.output.exists():
        if not (stage.is_zoo and parts.exists()):
            return Status("missing", "not made yet")
        record = read_record(stage, workdir)
        if redo or record is None or list(_changes(record["config"], stage)):
            return Status("stale", "its parts belong to another config")
        return Status("unfinished", "has parts")
    if redo:
        return Status("stale", "to be made again")
    for need in dict.fromkeys(stage.needs.values()):
        if others[need].state != "done":
            return Status("stale", f"needs {need!r}, which is {others[need].state}")
    record = read_record(stage, workdir)
    made = None if record is None else record["config"]
    if not stage.is_zoo:
        try:
            made = _made_with(stage)
        except FileNotFoundError:
            return Status("corrupt", "its folder has no config.json")
        except (ValueError, TypeError) as error:
            return Status("corrupt", str(error))
    if made is not None and (changes := list(_changes(made, stage))):
        keys = [key for key, _ in changes]
        reason = "; ".join(text for _, text in changes)
        return Status("stale", reason, continues=_only_add(keys, stage))
    if record is not None:
        for need, token in record["needs"].items():
            if need in others and token != _token(workdir, need):
                return Status("stale", f"{need!r} has been made again since")
    return _complete(stage)


def _complete(stage: Stage) -> Status:
    """Return whether the output of a stage is all there."""
    corrupt = functools.partial(Status, "corrupt", continues=not stage.is_zoo)
    try:
        if stage.is_zoo:
            zoo.load(stage.output)
            return Status("done")
        if not stage.results.exists():
            return Status("unfinished", "has no results.json")
        if not isinstance(harness.read_json(stage.results), dict):
            return corrupt(f"{stage.results} is not a JSON object")
        if stage.experiment is not None and stage.experiment.check_output is not None:
            stage.experiment.check_output(stage.output)
        return Status("done")
    except (ValueError, TypeError, OSError) as error:
        return corrupt(str(error))


def _changes(made: Mapping[str, Any], stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield keys that differ from those that an output was made with, and how."""
    old = dict(harness.flatten_config(made))
    new = dict(harness.flatten_config(harness.plain_config(stage.config)))
    for key in sorted(old.keys() | new.keys()):
        before, now = (values.get(key, "absent") for values in (old, new))
        if _is_path(key, stage):
            before, now = _tail(before), _tail(now)
        if before != now and key.rpartition(".")[2] not in harness.MAY_CHANGE:
            yield key, f"config.{key} was {before!r} and is now {now!r}"


def _is_path(key: str, stage: Stage) -> bool:
    """Whether a key only says where something lies."""
    return key in stage.needs or key.rpartition(".")[2] == "dir"


def _tail(path: Any) -> Any:
    """Return what of a path stays when the folder of a reproduction is moved."""
    parent, name = os.path.split(str(path))
    if os.path.basename(parent) in ("zoos", "runs"):
        return f"{os.path.basename(parent)}/{name}"
    return None  # where images lie


def _made_with(stage: Stage) -> dict[str, Any]:
    """Return the config of a run, with defaults for keys that did not exist then."""
    assert stage.experiment is not None
    saved = harness.load_config(stage.output / "config.json")
    return harness.plain_config(stage.experiment.completed(saved))


def _only_add(keys: list[str], stage: Stage) -> bool:
    """Whether the experiment lets a finished run change all of these keys."""
    if stage.experiment is None:
        return False
    adds = set(stage.experiment.may_change)
    return all({key, key.rpartition(".")[2]} & adds for key in keys)


def relocate(stage: Stage) -> None:
    """Write the present config into a run that only lay elsewhere when it was made.

    Paths may differ, and keys that did not exist then and have their defaults.
    """
    file = stage.output / "config.json"
    if stage.is_zoo or not file.exists():
        return
    try:
        made = _made_with(stage)
    except (ValueError, TypeError):
        return  # its status tells
    if not any(True for _ in _changes(made, stage)):
        harness.save_config(file, stage.config)


def remove(stage: Stage, workdir: pathlib.Path) -> None:
    """Remove the output of a stage, unless no reproduction has made it."""
    parts = _parts(stage)
    if not stage.output.exists() and not parts.exists():
        return
    record = read_record(stage, workdir)
    if record is None or record["adopted"]:
        raise ValueError(
            f"{stage.output} was not made by this command, so it is left alone: move it"
            " away, or choose another --workdir"
        )
    if stage.output.is_dir():
        shutil.rmtree(stage.output)
    stage.output.unlink(missing_ok=True)
    shutil.rmtree(parts, ignore_errors=True)
    _file(workdir, stage.name).unlink()


def read_record(stage: Stage, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Return the record of a stage; None if there is none that can be read."""
    file = _file(workdir, stage.name)
    try:
        record = harness.read_json(file)
    except (ValueError, FileNotFoundError):
        return None
    complete = isinstance(record, dict) and {"config", "made", "needs"} <= set(record)
    return record if complete else None


def begin(stage: Stage, workdir: pathlib.Path, *, adopt: bool) -> None:
    """Make the record of a stage, or bring its config up to date.

    With `adopt` an output without a record is there.
    """
    record = read_record(stage, workdir) or {
        "stage": stage.name,
        "made": _now(),
        "adopted": adopt,
        "sessions": _earlier(stage) if adopt else [],
    }
    record["config"] = harness.plain_config(stage.config)
    record["needs"] = {
        need: _token(workdir, need) for need in dict.fromkeys(stage.needs.values())
    }
    _write(workdir, stage, record)


def add_session(
    stage: Stage,
    workdir: pathlib.Path,
    *,
    seconds: float,
    ended: str,
    error: str | None = None,
) -> None:
    """Add what a process did for a stage to its record.

    It has "finished", was "stopped", or "failed" with an error.
    """
    record: Any = read_record(stage, workdir)
    session = {"ended": ended, "at": _now(), "seconds": seconds, **_versions()}
    if error is not None:
        session["error"] = error
    record["sessions"].append(session)
    _write(workdir, stage, record)


def _earlier(stage: Stage) -> list[dict[str, Any]]:
    """Return a session of unknown length for a run that was found there."""
    file = stage.output / "versions.json"
    if stage.is_zoo or not file.exists():
        return []
    versions = _versions(harness.read_json(file)[-1])
    return [{"ended": "elsewhere", "at": None, "seconds": None, **versions}]


def _versions(versions: Mapping[str, Any] | None = None) -> dict[str, Any]:
    versions = harness.versions() if versions is None else versions
    return {**versions, "git_commit": versions.get("git_commit") or "unknown"}


def _token(workdir: pathlib.Path, name: str) -> str | None:
    try:
        return harness.read_json(_file(workdir, name))["made"]
    except (ValueError, FileNotFoundError, KeyError, TypeError):
        return None


def _write(workdir: pathlib.Path, stage: Stage, record: Mapping[str, Any]) -> None:
    file = _file(workdir, stage.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    harness.write_json(file, record)


def _file(workdir: pathlib.Path, name: str) -> pathlib.Path:
    return workdir / "stages" / f"{name}.json"


def _parts(stage: Stage) -> pathlib.Path:
    return stage.output.with_name(stage.output.name + ".parts")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
