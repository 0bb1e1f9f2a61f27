"""What a reproduction holds: stages, their states, results and records."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from experiments import harness
from experiments.paper import _plan, _state


class Contents(NamedTuple):
    """What a reproduction holds.

    Attributes:
      plan: the stages by name.
      states: their statuses.
      results: those of finished runs, by name.
      records: those of stages that have one.
      command: the command line that makes it all.
      drawings: folder for figures of several stages.
    """

    plan: Mapping[str, _plan.Stage]
    states: Mapping[str, _state.Status]
    results: Mapping[str, dict[str, Any]]
    records: Mapping[str, dict[str, Any]]
    command: str
    drawings: pathlib.Path

    def only(self, names: Iterable[str]) -> str:
        """Return the command that makes these stages alone."""
        return f"{self.command} --only={','.join(names)}"

    def of(self, section: str, experiment: str | None = None) -> dict[str, dict]:
        """Return results of a section by stage, of all experiments if none is named."""
        return {
            name: results
            for name, results in self.results.items()
            if self.plan[name].section == section
            if experiment in (None, self.plan[name].config.experiment)
        }

    def autoencoders(self) -> dict[str, dict]:
        """Return the results of all autoencoders of INRs by stage."""
        return self.of("reconstruction", "autoencode") | self.of(
            "ablation", "autoencode"
        )

    def label(self, name: str) -> str:
        """Return what the report calls a stage."""
        return self.plan[name].label

    def sessions(self) -> list[dict[str, Any]]:
        """Return what every process did for a stage."""
        return [s for record in self.records.values() for s in record["sessions"]]

    def time(self, name: str) -> str:
        """Return the time that a stage took, as text."""
        record = self.records.get(name)
        seconds = seconds_of(record)
        if record is None or seconds is None:
            return "not recorded"
        complete = all(s["seconds"] is not None for s in record["sessions"])
        return ("" if complete else "> ") + duration(seconds)


def collect(
    plan: Mapping[str, _plan.Stage],
    states: Mapping[str, _state.Status],
    workdir: pathlib.Path,
    command: str,
) -> Contents:
    """Read the results and records of all stages."""
    results = {
        name: harness.read_json(plan[name].results)
        for name, status in states.items()
        if status.state == "done" and not plan[name].is_zoo
    }
    records = {
        name: record
        for name, stage in plan.items()
        if (record := _state.read_record(stage, workdir)) is not None
    }
    return Contents(plan, states, results, records, command, workdir / "drawings")


def seconds_of(record: Mapping[str, Any] | None) -> float | None:
    """Return the seconds of all sessions of a stage, None where none was timed."""
    sessions = () if record is None else record["sessions"]
    known = [s["seconds"] for s in sessions if s["seconds"] is not None]
    return sum(known, 0.0) if known else None


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `3.5 min` or `1.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
