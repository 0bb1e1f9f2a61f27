"""The report of a reproduction: sections as in the paper, then how it was made."""

import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.harness import _published
from experiments.paper import (
    _report,
    _report_cnns,
    _report_inrs,
    _report_parts,
    _reproduce_plan,
    _reproduce_state,
)
from symmerge_jax import symmetry, zoo

seconds_of = _report_parts.seconds_of

_TITLES = {
    "data": "Data",
    "reconstruction": "Reconstruction of INRs",
    "latents": "Latent space and orbits",
    "interpolation": "Interpolation of INRs",
    "failure": "Failure mode",
    "ablation": "Ablations",
    "cnns": "CNNs: autoencoders and merging",
    "prediction": "The encoders' own tasks: classification, prediction of accuracy",
}


def build(
    title: str,
    plan: Mapping[str, _reproduce_plan.Stage],
    states: Mapping[str, _reproduce_state.Status],
    workdir: pathlib.Path,
    command: str,
) -> _report.Report:
    """Return the report of what a workdir holds.

    Args:
      title: its heading.
      plan: the stages.
      states: their statuses; what is not done is said to be missing.
      workdir: folder of the reproduction.
      command: the command line that makes it.

    Returns:
      The report.
    """
    found = _report_parts.collect(plan, states, workdir, command)
    writers = {"data": _data, **_report_inrs.SECTIONS, **_report_cnns.SECTIONS}
    sections = [_summary(found)]
    for name, heading in _TITLES.items():
        blocks = [*_report_parts.missing(found, name), *writers[name](found)]
        sections.append(_report.Section(heading, blocks))
    sections.append(_made(found))
    return _report.Report(title, sections)


def _summary(found: _report_parts.Found) -> _report.Section:
    done = [name for name, status in found.states.items() if status.state == "done"]
    seconds = [seconds_of(found.records.get(name)) for name in done]
    known = sum((value for value in seconds if value is not None), 0.0)
    last = _last_session(found)
    hardware = "" if last is None else f" on {_hardware(last)}"
    text = (
        "Reproduction of Boufalis et al. 2025, Symmetry-Aware Graph Metanetwork"
        " Autoencoders (arXiv 2511.12601). Every number of ours comes from the"
        " `results.json` of a stage; below each table stands the command that makes it"
        f" again. {len(done)} of {len(found.plan)} stages are done, in"
        f" {_report_parts.duration(known)}{hardware}."
    )
    blocks: list[_report.Block] = [_report.Text(text)]
    if last is not None:
        commits = sorted({s["git_commit"][:10] for s in _sessions(found)})
        blocks.append(_report.Text(f"Commit: {', '.join(commits)}."))
    blocks.append(_report.Text(f"All of it: `{found.command}`"))
    return _report.Section("Summary", blocks)


def _data(found: _report_parts.Found) -> list[_report.Block]:
    """Describe the zoos: quality of INRs in dB, accuracy of classifiers."""
    inrs, classifiers, ours = [], [], {}
    counts = {}
    names = [n for n, s in found.plan.items() if s.is_zoo]
    for name in names:
        if found.states[name].state != "done":
            continue
        made = zoo.load(found.plan[name].output, validate=False)
        time = _report_parts.time_of(found, name)
        source = str(made.provenance.get("source", "-"))
        start = (found.label(name), f"{len(made):,}", source)
        if made.architecture["kind"] == "siren":
            sizes = "-".join(str(n) for n in made.architecture["layer_sizes"])
            psnr = np.asarray(made.metrics["psnr"], float)
            inrs.append((*start, sizes, *_quartiles(psnr, ".1f"), time))
            ours.setdefault("std", _stds(made))
            ours.setdefault("psnr", f"{psnr.mean():.1f} dB ({found.label(name)})")
        else:
            accuracy = 100 * np.asarray(made.metrics["test_accuracy"], float)
            kind, activation = (made.architecture[k] for k in ("kind", "activation"))
            if kind == "cnn":
                counts[activation] = f"{len(made):,}"
            network = f"{kind.upper()}, {activation}"
            classifiers.append((*start, network, *_quartiles(accuracy, ".1f"), time))
    if counts:
        ours["cnns"] = "; ".join(counts.get(name, "-") for name in ("relu", "tanh"))
    shown = ("mean", "median", "least", "best", "time")
    blocks: list[_report.Block] = []
    command = found.only(names)
    if inrs:
        columns = ("zoo", "networks", "images", "layers", *shown)
        caption = "INRs (SIRENs), one per image; PSNR in dB"
        blocks.append(_report.Table(caption, columns, inrs, command))
    if classifiers:
        columns = ("zoo", "networks", "images", "kind", *shown)
        caption = "Classifiers; accuracy on test images in %"
        blocks.append(_report.Table(caption, columns, classifiers, command))
    return [*blocks, _report_parts.comparison(_published.DATA, ours)]


def _quartiles(values: np.ndarray, form: str) -> list[str]:
    numbers = (values.mean(), np.median(values), values.min(), values.max())
    return [f"{number:{form}}" for number in numbers]


def _stds(inrs: zoo.Zoo) -> str:
    leaves = symmetry.flatten(inrs.params)
    return ", ".join(
        f"{np.std(leaves[path], dtype=np.float64):.4f}"
        for path in sorted(leaves)
        if path[-1] == "kernel"
    )


def _made(found: _report_parts.Found) -> _report.Section:
    """Tell how it was made: environment and stages."""
    blocks: list[_report.Block] = []
    if (last := _last_session(found)) is not None:
        rows = [
            (name, _values(found, name))
            for name in last
            if name not in ("at", "ended", "error", "seconds")
        ]
        caption = "Environment; where it changed, all values"
        blocks.append(_report.Table(caption, ("what", "value"), rows))
    rows = []
    for name, stage in found.plan.items():
        record = found.records.get(name, {"sessions": [], "adopted": False})
        sessions = record["sessions"]
        rows.append(
            (
                f"`{name}`",
                found.states[name].state + (", adopted" if record["adopted"] else ""),
                _report_parts.time_of(found, name),
                str(len(sessions)),
                sessions[-1]["git_commit"][:10] if sessions else "-",
                f"`{' '.join((stage.source, *stage.overrides))}`",
            )
        )
    columns = ("stage", "state", "time", "starts", "commit", "config")
    blocks.append(_report.Table("Stages", columns, rows, f"{found.command} --list"))
    return _report.Section("How this was made", blocks)


def _sessions(found: _report_parts.Found) -> list:
    return [s for record in found.records.values() for s in record["sessions"]]


def _last_session(found: _report_parts.Found) -> dict | None:
    timed = [session for session in _sessions(found) if session["at"] is not None]
    return max(timed, key=lambda session: session["at"], default=None)


def _values(found: _report_parts.Found, name: str) -> str:
    values = [str(s[name]) for s in _sessions(found) if s.get(name) is not None]
    return ", ".join(dict.fromkeys(values)) or "none"


def _hardware(session: Mapping) -> str:
    cpu = f"{session['cores']} cores of {session['cpu']}"
    accelerator = session["accelerator"]
    return cpu if accelerator is None else f"{accelerator}, {cpu}"
