"""The whole reproduction at its smallest size, once for all tests of this file."""

import json
import pathlib
import re

import jax
import pytest

from experiments import harness
from experiments.paper import _plan, reproduce

CONFIG = pathlib.Path(__file__).parents[2] / "launch" / "configs" / "paper_smoke.py"
COMMAND = "python launch/reproduce.py --config=paper_smoke.py --workdir=w"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config and the folder of a finished reproduction.

    Stages leave their compiled programs to those that follow, which saves time here and
    costs memory only.
    """
    config = harness.load_config_file(CONFIG)
    workdir = tmp_path_factory.mktemp("reproduction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "clear_caches", lambda: None)
        assert reproduce.run(config, workdir, command=COMMAND).left == ()
        yield config, workdir


def sections_of(workdir):
    text = (workdir / "report.md").read_text()
    titles = [part.partition("\n")[0] for part in text.split("\n## ")[1:]]
    return dict(zip(titles, text.split("\n## ")[1:], strict=True))


@pytest.mark.slow
def test_every_section_has_tables_of_ours_with_their_command(finished):
    config, workdir = finished
    sections = list(sections_of(workdir).values())
    assert len(sections) == len(_plan.SECTIONS) + 3
    plan = _plan.read(config, workdir)
    for name, text in zip(_plan.SECTIONS, sections[1:-2], strict=True):
        assert "Missing" not in text
        ours, _, published = text.partition("**Published, and ours**")
        assert ours.count("\n|:--") >= 1 and published.count("\n| ") >= 2
        stages = re.findall(r"--only=([a-z_,]+)`", ours)
        used = {stage for names in stages for stage in names.split(",")}
        of_section = {key for key, stage in plan.items() if stage.section == name}
        assert of_section <= used, name
    assert "12 of 12 stages are done" in sections[0]
    for name in plan:
        assert re.search(rf"\| `{name}` +\| done +\|", sections[-1])
    assert "mean nothing" in sections[0] and "**Key figures**" in sections[0]


@pytest.mark.slow
def test_numbers_come_from_the_results_of_the_stages(finished):
    _, workdir = finished
    sections = sections_of(workdir)

    def results(name):
        return json.loads((workdir / "runs" / name / "results.json").read_text())

    def has(section, *cells):
        row = " *".join(rf"\| *{re.escape(cell)}" for cell in cells)
        return re.search(rf"^{row}", section, re.M)

    section = sections["Reconstruction of INRs"]
    both = [results(name) for name in ("scale_gmn", "neural_graphs")]
    assert has(section, "", "ScaleGMN", "Neural Graphs")
    for key in ("mse", "mse_image", "num_parameters"):
        cells = (harness.measures("", run).rows for run in both)
        assert has(section, f"`{key}`", *(str(dict(rows)[key]) for rows in cells))
    paths = sections["Interpolation of INRs"]
    for cell in results("orbit_interpolation")["cells"]:
        assert has(paths, cell["label"], f"{cell['image']['start']:.4f}")
    assert has(paths, "decoded weights (Neural Graphs)")
    task = sections["The encoders' own tasks: classification, prediction of accuracy"]
    assert has(task, "`accuracy`", f"{results('classify')['accuracy']:.5g}")


@pytest.mark.slow
def test_the_page_holds_every_figure(finished):
    _, workdir = finished
    figures = sorted(path.name for path in (workdir / "figures").iterdir())
    text = (workdir / "report.md").read_text()
    page = (workdir / "report.html").read_text()
    assert {f"figures/{name}" for name in figures} == set(
        re.findall(r"\]\((figures/[^)]+)\)", text)
    )
    assert page.count("data:image/png;base64,") == len(figures) >= 10
    for name in ("latent_maps_orbits", "failure_mode_renderings", "merge_cnns_paths"):
        assert f"{name}.png" in figures


@pytest.mark.slow
def test_what_is_lost_is_said_and_made_again_alone(finished, capfd):
    config, workdir = finished
    path = workdir / "runs/independent_inrs/results.json"
    before = path.read_bytes()
    path.write_bytes(before[:50])
    reproduce.write_report(config, workdir, command=COMMAND)
    text = sections_of(workdir)["Interpolation of INRs"]
    assert "separate fits (`independent_inrs`) is corrupt" in text
    assert "decoded weights (ScaleGMN)" in text  # the other stage is there
    capfd.readouterr()
    reproduce.run(config, workdir, command=COMMAND)
    said = capfd.readouterr().err
    assert said.count(": done\n") == 11 and "is not JSON" in said
    assert path.read_bytes() == before


@pytest.mark.slow
def test_every_experiment_keeps_what_it_has_done(finished):
    """The contract of experiments, on a run of each; see `contract_test.py`.

    Of several it is the last one, whose programs are the smallest.
    """
    config, workdir = finished
    stages = _plan.read(config, workdir).values()
    runs = {stage.experiment.name: stage for stage in stages if stage.experiment}
    assert len(runs) == 7
    for stage in runs.values():
        before = {path for path in stage.output.rglob("*") if path.is_file()}
        returned = harness.run(stage.experiment, stage.config, stage.output)
        assert {path for path in stage.output.rglob("*") if path.is_file()} == before
        kept = harness.read_json(stage.results)
        assert json.loads(json.dumps(returned)) == kept, stage.name
        tables = stage.experiment.tables(kept)
        assert harness.to_text(tables).strip()
        for table in tables:
            assert harness.to_markdown(table) and harness.to_html(table)
        other = stage.config.copy_and_resolve_references()
        other.seed += 1
        with pytest.raises(ValueError, match="seed was 0 and is now 1"):
            harness.run(stage.experiment, other, stage.output)
