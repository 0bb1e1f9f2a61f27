"""What the sections of the report of a reproduction are put together from."""

import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments import harness
from experiments.harness import _published
from experiments.paper import _report, _reproduce_plan, _reproduce_state

Stage = _reproduce_plan.Stage


class Found(NamedTuple):
    """What a reproduction holds.

    Attributes:
      plan: the stages by name.
      states: their statuses.
      results: those of finished runs, by name.
      records: those of stages that have one.
      command: the command line that makes it all.
      drawings: folder for figures of several stages.
    """

    plan: Mapping[str, Stage]
    states: Mapping[str, _reproduce_state.Status]
    results: Mapping[str, dict[str, Any]]
    records: Mapping[str, dict[str, Any]]
    command: str
    drawings: pathlib.Path

    def only(self, names: Iterable[str]) -> str:
        """Return the command that makes these stages alone."""
        return f"{self.command} --only={','.join(names)}"

    def of(self, section: str, *experiments: str) -> dict[str, dict[str, Any]]:
        """Return results of a section by stage, of all experiments if none is named."""
        return {
            name: results
            for name, results in self.results.items()
            if self.plan[name].section == section
            if not experiments or self.plan[name].config.experiment in experiments
        }

    def label(self, name: str) -> str:
        """Return what the report calls a stage."""
        return self.plan[name].label

    def figure(self, name: str, file: str, caption: str) -> list[_report.Block]:
        """Return a figure of a finished stage, nothing if it has none."""
        path = self.plan[name].output / f"{file}.png"
        if not path.exists():
            return []
        text = f"{self.label(name)}: {caption}"
        return [_report.Figure(path, f"{name}_{file}", text)]


def collect(
    plan: Mapping[str, Stage],
    states: Mapping[str, _reproduce_state.Status],
    workdir: pathlib.Path,
    command: str,
) -> Found:
    """Read the results and records of all stages."""
    done = [name for name, status in states.items() if status.state == "done"]
    results = {
        name: harness.read_json(plan[name].results)
        for name in done
        if not plan[name].is_zoo
    }
    records = {
        name: record
        for name, stage in plan.items()
        if (record := _reproduce_state.read_record(stage, workdir)) is not None
    }
    drawings = workdir / "drawings"
    return Found(plan, states, results, records, command, drawings)


def missing(found: Found, section: str) -> Iterator[_report.Block]:
    """Yield a remark for every stage of a section that is not done."""
    for name, stage in found.plan.items():
        status = found.states[name]
        if stage.section == section and status.state != "done":
            sessions = found.records.get(name, {}).get("sessions", [])
            failed = [s["error"] for s in sessions[-1:] if "error" in s]
            state = status.reason  # "not made yet"
            if status.state != "missing" or failed:
                reason = f"failed: {failed[0]}" if failed else status.reason
                state = f"{status.state}: {reason}"
            yield _report.Missing(
                f"{stage.label} (`{name}`) is {state}. Make it with"
                f" `{found.only([name])}`"
            )


def comparison(
    published: Sequence[_published.Published], ours: Mapping[str, str]
) -> _report.Table:
    """Return the table of published numbers with ours beside them."""
    rows = [
        (line.quantity, line.value, ours.get(line.key, "-"), line.source)
        for line in published
    ]
    return _report.Table(
        "Published, and ours", ("quantity", "published", "ours", "source"), rows
    )


def seconds_of(record: Mapping[str, Any] | None) -> float | None:
    """Return the seconds of all sessions of a stage, None where none was timed."""
    if record is None:
        return None
    times = [session["seconds"] for session in record["sessions"]]
    known = [seconds for seconds in times if seconds is not None]
    return sum(known, 0.0) if known else None


def time_of(found: Found, name: str) -> str:
    """Return the time that a stage took, as text."""
    record = found.records.get(name)
    seconds = seconds_of(record)
    if record is None or seconds is None:
        results = found.results.get(name, {})
        if not {"num_steps", "seconds_per_step"} <= results.keys():
            return "not recorded"
        steps = results["num_steps"] * results["seconds_per_step"]
        return f"about {duration(steps)}, steps alone"
    complete = all(s["seconds"] is not None for s in record["sessions"])
    return ("" if complete else "> ") + duration(seconds)


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `3.5 min` or `1.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def number(value: Any, form: str = ".4f") -> str:
    """Return a number as text, `-` for None and for what is not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:{form}}"


def percent(value: Any, error: Any = None) -> str:
    """Return a fraction as per cent, with its standard error if there is one."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def with_error(value: Any, error: Any, form: str = ".4f") -> str:
    """Return a number with its standard error, if there is one."""
    text = number(value, form)
    finite = error is not None and math.isfinite(error)
    return f"{text} ± {error:{form}}" if finite else text
