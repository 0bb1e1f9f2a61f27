"""The report of a reproduction: sections as in the paper, then how it was made."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import harness
from experiments.paper import _contents, _ours, _published, _report, _words
from symmerge_jax import plots, training

Contents = _contents.Contents


def build(config: harness.Config, contents: Contents) -> _report.Report:
    """Return the report of a workdir; what is not done is said to be missing."""
    ours = {name: _ours.SECTIONS[name](contents) for name in _words.TITLES}
    sections = [_report.Section("Summary", [*_summary(contents, config.note, ours)])]
    for name, title in _words.TITLES.items():
        published = _comparison(_published.SECTIONS[name], ours[name])
        blocks = [*_missing(contents, name), *_blocks(contents, name), published]
        sections.append(_report.Section(title, blocks))
    terms = harness.Table("", ("term", "meaning"), [*_words.TERMS.items()])
    sections.append(_report.Section("Terms", [terms]))
    sections.append(_report.Section("How this was made", [*_made(contents)]))
    return _report.Report(config.title, sections)


def _summary(
    contents: Contents, note: str, ours: Mapping[str, _ours.Ours]
) -> Iterator[_report.Block]:
    done = [name for name, status in contents.states.items() if status.state == "done"]
    seconds = [_contents.seconds_of(contents.records.get(name)) for name in done]
    known = _contents.duration(sum((x for x in seconds if x is not None), 0.0))
    last = _last_session(contents)
    hardware = "" if last is None else f" on {_hardware(last)}"
    yield _report.Text(
        "Reproduction of Boufalis et al. 2025, Symmetry-Aware Graph Metanetwork"
        " Autoencoders (arXiv 2511.12601)."
        f" {len(done)} of {len(contents.plan)} stages are done, in {known}{hardware}."
    )
    if note:
        yield _report.Text(f"**{note}**")
    rows = [
        (_words.TITLES[name], line.quantity, ours[name][line.key], line.value)
        for name, keys in _words.KEY_FIGURES.items()
        for line in _published.SECTIONS[name]
        if line.key in keys and line.key in ours[name]
    ]
    if rows:
        columns = ("section", "quantity", "ours", "published")
        yield harness.Table("Key figures", columns, rows)
    yield _report.Text(
        "Every number of ours comes from the `results.json` of a stage. Below each"
        " table stands the command that makes its numbers again; all of it:"
        f" `{contents.command}`. The words are explained under Terms."
    )
    if last is not None:
        commits = sorted({s["git_commit"][:10] for s in contents.sessions()})
        yield _report.Text(f"Commit: {', '.join(commits)}.")


def _missing(contents: Contents, section: str) -> Iterator[_report.Block]:
    """Yield a remark for every stage of a section that is not done."""
    for name, stage in contents.plan.items():
        status = contents.states[name]
        if stage.section == section and status.state != "done":
            sessions = contents.records.get(name, {}).get("sessions", [])
            failed = [s["error"] for s in sessions[-1:] if "error" in s]
            state = status.reason  # "not made yet"
            if status.state != "missing" or failed:
                reason = f"failed: {failed[0]}" if failed else status.reason
                state = f"{status.state}: {reason}"
            yield _report.Missing(
                f"{stage.label} (`{name}`) is {state}. Make it with"
                f" `{contents.only([name])}`"
            )


def _blocks(contents: Contents, section: str) -> Iterator[_report.Block]:
    """Yield the tables and figures of the stages of a section."""
    if section == "data":
        yield from _zoos(contents)
    runs = contents.of(section)
    if section == "ablation" and runs:  # beside the first whole encoder
        runs = dict([*contents.of("reconstruction", "autoencode").items()][:1]) | runs
    lists: dict[tuple[str, str], dict[str, harness.Table]] = {}
    tables = []
    for name, results in runs.items():
        for table in _tables(contents, name, results):
            if any(table.columns):
                tables.append(table)
            else:
                experiment = contents.plan[name].config.experiment
                lists.setdefault((experiment, table.caption), {})[name] = table
    for (experiment, caption), group in lists.items():
        yield _side_by_side(contents, _words.LISTS.get(experiment, "Results"), group)
        if caption:
            yield _report.Text(caption)
    yield from tables
    if section == "reconstruction":
        yield from _training(contents)
    for name in runs:
        stage = contents.plan[name]
        if stage.section != section:
            continue
        for file, caption in _words.FIGURES.get(stage.config.experiment, {}).items():
            path = stage.output / f"{file}.png"
            if path.exists():
                caption = _sentence(f"{stage.label}: {caption}")
                yield _report.Figure(path, f"{name}_{file}", caption)


def _tables(
    contents: Contents, name: str, results: Mapping[str, Any]
) -> Iterator[harness.Table]:
    """Yield the tables of a stage; those with headings say how they are made."""
    stage = contents.plan[name]
    assert stage.experiment is not None
    for table in stage.experiment.tables(dict(results)):
        if not any(table.columns):
            yield table
            continue
        caption = table.caption
        if not caption.lower().startswith(stage.label.lower()):
            caption = f"{stage.label}: {caption}"
        yield table._replace(caption=_sentence(caption), command=contents.only([name]))


def _side_by_side(
    contents: Contents, caption: str, tables: Mapping[str, harness.Table]
) -> harness.Table:
    """Return lists of numbers, by stage, as one table with a column for each stage."""
    columns: dict[str, dict[str, harness.Cell]] = {
        name: {str(row[0]): row[1] for row in table.rows}
        for name, table in tables.items()
    }
    for name, cells in columns.items():
        config: Any = contents.plan[name].config
        if "decoder" in config:
            latent = config.encoder.latent_size or config.encoder.width
            widths = [
                str(int(config.encoder.width * k))
                for k in config.decoder.hidden_multipliers
            ]
            cells["latent_size"] = harness.Number(latent, "d")
            cells["decoder_widths"] = "-".join(widths) or "-"
        cells["time"] = contents.time(name)
    quantities = dict.fromkeys(row for cells in columns.values() for row in cells)
    rows = [
        (f"`{quantity}`", *(cells.get(quantity, "-") for cells in columns.values()))
        for quantity in quantities
    ]
    labels = [contents.label(name) for name in tables]
    return harness.Table(caption, ("", *labels), rows, contents.only(tables))


def _comparison(
    published: tuple[_published.Published, ...], ours: Mapping[str, str]
) -> harness.Table:
    """Return the table of published numbers with ours beside them."""
    rows = [
        (line.quantity, line.value, ours.get(line.key, "-"), line.source)
        for line in published
    ]
    columns = ("quantity", "published", "ours", "source")
    return harness.Table("Published, and ours", columns, rows)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _zoos(contents: Contents) -> Iterator[harness.Table]:
    """Yield the zoos: quality of INRs in dB, accuracy of classifiers in per cent."""
    rows: dict[bool, list] = {True: [], False: []}
    for name, made in _ours.zoos(contents).items():
        is_inrs = made.architecture["kind"] == "siren"
        if is_inrs:
            kind = "-".join(str(n) for n in made.architecture["layer_sizes"])
            values, form = np.asarray(made.metrics["psnr"], float), ".1f"
        else:
            kind, activation = (made.architecture[k] for k in ("kind", "activation"))
            kind = f"{kind.upper()}, {activation}"
            values, form = np.asarray(made.metrics["test_accuracy"], float), ".1%"
        numbers = (values.mean(), np.median(values), values.min(), values.max())
        rows[is_inrs].append(
            (
                *(contents.label(name), harness.Number(len(made), ",d")),
                *(str(made.provenance.get("source", "-")), kind),
                *(harness.Number(float(number), form) for number in numbers),
                contents.time(name),
            )
        )
    command = contents.only(n for n, s in contents.plan.items() if s.is_zoo)
    shown = ("mean", "median", "least", "best", "time")
    for is_inrs, kind, caption in (
        (True, "layers", "INRs (SIRENs), one per image; PSNR in dB"),
        (False, "kind", "Classifiers; accuracy on test images in %"),
    ):
        if rows[is_inrs]:
            columns = ("zoo", "networks", "images", kind, *shown)
            yield harness.Table(caption, columns, rows[is_inrs], command)


def _training(contents: Contents) -> Iterator[_report.Block]:
    """Draw the error on validation networks of all autoencoders as they train."""
    lines = {}
    for name in contents.autoencoders():
        file = contents.plan[name].output / "metrics.jsonl"
        series = training.read_metrics(file) if file.exists() else {}
        if (error := series.get("val/mse")) is not None:
            steps, values = np.asarray(error.steps), np.asarray(error.values)
            lines[contents.label(name)] = (steps, values, np.full(len(values), np.nan))
    if lines:
        title = "validation MSE"
        figure = plots.mean_curves(
            {title: lines}, "step", num_columns=1, log_scale=(title,)
        )
        path = plots.save_figure(figure, contents.drawings / "training")
        caption = "Training of all autoencoders of INRs"
        yield _report.Figure(path.with_suffix(".png"), "training", caption)


def _made(contents: Contents) -> Iterator[_report.Block]:
    """Tell how it was made: environment and stages."""
    if (last := _last_session(contents)) is not None:
        rows = [
            (name, _values(contents, name))
            for name in last
            if name not in ("at", "ended", "error", "seconds")
        ]
        caption = "Environment; where it changed, all values"
        yield harness.Table(caption, ("what", "value"), rows)
    rows = []
    for name, stage in contents.plan.items():
        record = contents.records.get(name, {"sessions": [], "adopted": False})
        sessions = record["sessions"]
        rows.append(
            (
                f"`{name}`",
                contents.states[name].state
                + (", adopted" if record["adopted"] else ""),
                contents.time(name),
                harness.Number(len(sessions), "d"),
                sessions[-1]["git_commit"][:10] if sessions else "-",
                f"`{' '.join((stage.source, *stage.overrides))}`",
            )
        )
    columns = ("stage", "state", "time", "starts", "commit", "config")
    yield harness.Table("Stages", columns, rows, f"{contents.command} --list")


def _last_session(contents: Contents) -> dict | None:
    timed = [session for session in contents.sessions() if session["at"] is not None]
    return max(timed, key=lambda session: session["at"], default=None)


def _values(contents: Contents, name: str) -> str:
    values = [str(s[name]) for s in contents.sessions() if s.get(name) is not None]
    return ", ".join(dict.fromkeys(values)) or "none"


def _hardware(session: Mapping) -> str:
    cpu = f"{session['cores']} cores of {session['cpu']}"
    accelerator = session["accelerator"]
    return cpu if accelerator is None else f"{accelerator}, {cpu}"
