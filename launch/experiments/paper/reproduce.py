"""Reproduce the paper: make the zoos, train, run every experiment, write the report.

Boufalis et al. 2025, arXiv 2511.12601. What a reproduction leaves is in its workdir:

    zoos/NAME.zoo                the populations of networks
    runs/NAME/                   the workdir of each experiment
    stages/NAME.json             how long each took, on what, from which commit
    report.md, figures/          every table and figure
    drawings/                    figures that several stages share
    report.html                  the same in one file
"""

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import jax

from experiments import harness
from experiments.paper import _contents, _plan, _report, _sections, _state, _time_limit
from symmerge_jax import training

comparisons = _plan.comparisons
make_config = _plan.make_config
stage = _plan.stage
stages = _plan.stages

_FAILURES = (ValueError, TypeError, FloatingPointError, OSError, RuntimeError)


class StageError(ValueError):
    """A stage failed; says which, and how to run it alone."""


class Outcome(NamedTuple):
    """What a reproduction has come to.

    Attributes:
      left: names of the stages that were asked for and are not done.
      report: the file `report.md`.
    """

    left: tuple[str, ...]
    report: pathlib.Path


def run(
    config: harness.Config,
    workdir: str | os.PathLike,
    *,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    time_limit: str | None = None,
    command: str = "reproduce",
) -> Outcome:
    """Make what is missing, resume what was stopped, and write the report.

    A stage is done when its output is complete and was made with its config from the
    present outputs of what it needs. One that is damaged or was made otherwise is made
    again, which a line on standard error says; files that no reproduction has made are
    never removed.

    Args:
      config: from `make_config`.
      workdir: folder of the reproduction.
      only: names of the stages to run; all if empty.
      redo: stages to make again.
      time_limit: as `9m`; then the work is saved and the rest is left.
      command: the command line without these options, for messages and the report.

    Raises:
      ValueError: an invalid config or name; a stage alone whose needs are not done; an
        output in the way that was not made here.
      StageError: a stage failed.
    """
    folder = pathlib.Path(workdir).expanduser().absolute()
    with harness.locked(folder):
        plan = _plan.read(config, folder)
        _check_names(plan, {"only": only, "redo": redo})
        seconds = None if time_limit is None else _time_limit.parse(time_limit)
        limit = _time_limit.TimeLimit(seconds)
        wanted = [name for name in plan if not only or name in only]
        for one in plan.values():
            _state.relocate(one)
        found = _state.statuses(plan, folder, redo=redo)
        if only:
            _check_needs(plan, found, wanted)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with limit:
                for number, name in enumerate(wanted, 1):
                    title = f"stage {number}/{len(wanted)} {name}"
                    again = name in redo
                    found[name] = _state.status(plan[name], found, folder, redo=again)
                    with _naming(name, command):
                        _finish(plan[name], folder, found[name], title)
                    found[name] = _state.Status("done")
        except (training.Interrupted, _time_limit.TimeIsUp):
            limit.cancel()
            if not limit.is_up:
                raise
        except StageError:
            _write_report(config, plan, folder, command)
            raise
        path = _write_report(config, plan, folder, command)
        left = tuple(name for name in wanted if found[name].state != "done")
        return Outcome(left, path)


def list_stages(config: harness.Config, workdir: str | os.PathLike) -> str:
    """Return a table of all stages as text: state, seconds, and what is to be done."""
    folder = pathlib.Path(workdir).expanduser().absolute()
    plan = _plan.read(config, folder)
    rows = []
    for name, status in _state.statuses(plan, folder).items():
        seconds = _contents.seconds_of(_state.read_record(plan[name], folder))
        rows.append((name, status.state, harness.Number(seconds, ".0f"), status.reason))
    columns = ("stage", "state", "seconds", "reason")
    return harness.to_text([harness.Table("", columns, rows)])


def write_report(
    config: harness.Config, workdir: str | os.PathLike, *, command: str = "reproduce"
) -> pathlib.Path:
    """Write `report.md`, which is returned, its figures and `report.html`.

    `command` is the command line that makes it, which the tables name.
    """
    folder = pathlib.Path(workdir).expanduser().absolute()
    plan = _plan.read(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    return _write_report(config, plan, folder, command)


def _write_report(config, plan, folder: pathlib.Path, command: str) -> pathlib.Path:
    found = _state.statuses(plan, folder)
    contents = _contents.collect(plan, found, folder, command)
    return _report.write(_sections.build(config, contents), folder)


@contextlib.contextmanager
def _naming(name: str, command: str) -> Iterator[None]:
    """Turn what goes wrong into one line that says where, and how to try again."""
    try:
        yield
    except _FAILURES as error:
        message = " ".join(str(error).split())
        raise StageError(
            f"stage {name!r} failed: {message}. To run it alone: {command}"
            f" --only={name}"
        ) from error


def _finish(
    stage: _plan.Stage,
    folder: pathlib.Path,
    found: _state.Status,
    title: str,
) -> None:
    """Make or finish the output of a stage, and record it."""
    if found.state == "done":
        _adopt(stage, folder)
        _say(f"{title}: done")
        return
    if found.state in ("stale", "corrupt") and not found.continues:
        _say(f"{title}: {found.reason}; it is made again")
        _state.remove(stage, folder)
    elif found.state == "missing":
        _say(f"{title}: {stage.source}")
    else:
        _say(f"{title}: {found.reason}; it resumes")
        stage.results.unlink(missing_ok=True)  # else it would look finished if stopped
    _state.begin(stage, folder, adopt=stage.output.exists())
    stage.output.parent.mkdir(parents=True, exist_ok=True)
    start, ended, message = time.monotonic(), "stopped", None
    try:
        stage.run()
        ended = "finished"
    except _FAILURES as error:
        ended, message = "failed", " ".join(str(error).split())
        raise
    finally:
        seconds = time.monotonic() - start
        _state.add_session(stage, folder, seconds=seconds, ended=ended, error=message)
        jax.clear_caches()


def _adopt(stage: _plan.Stage, folder: pathlib.Path) -> None:
    """Make a record for an output that lies there without one."""
    if _state.read_record(stage, folder) is None:
        if stage.is_zoo:
            stage.run()  # refuses another zoo
        _state.begin(stage, folder, adopt=True)


def _check_names(plan: Collection[str], given: dict[str, Sequence[str]]) -> None:
    for option, names in given.items():
        if unknown := [name for name in names if name not in plan]:
            raise ValueError(
                f"--{option} names no stage: {unknown[0]!r}, known are"
                f" {', '.join(plan)}"
            )


def _check_needs(plan, found, wanted) -> None:
    """Refuse stages alone when they need others that are not done and not asked for."""
    for name in wanted:
        for need in dict.fromkeys(plan[name].needs.values()):
            if need not in wanted and found[need].state != "done":
                raise ValueError(
                    f"stage {name!r} needs {need!r}, which is {found[need].state}"
                    f" ({found[need].reason}): add it, --only={need},{name}"
                )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
