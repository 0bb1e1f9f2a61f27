import base64
import html.parser
import re

import numpy as np
import pytest
from PIL import Image

from experiments import harness
from experiments.paper import (
    _contents,
    _ours,
    _plan,
    _published,
    _report,
    reproduce,
)
from tests.experiments import configs

VOID = {"meta", "img", "br"}


class Page(html.parser.HTMLParser):
    """Reads a page; refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.sources = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "from" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    blocks = [
        _report.Text("a < b & `x<y>` **bold**"),
        _report.Missing("`run` is missing"),
        harness.Table(
            "Cap<tion>",
            ("method", "value", "source"),
            [
                ("a | b", harness.Number(1.5, ".1f", 0.2), "here"),
                ("<i>", "-", "1 and more"),
            ],
            "python x.py --a='<b>'",
        ),
        harness.Table("Empty", ("a", "b"), []),
        _report.Figure(path, "run_a", 'a "figure"'),
    ]
    return _report.Report("Title & more", [_report.Section("One <1>", blocks)])


def test_a_page_is_whole_escaped_and_needs_no_other_file(report, tmp_path):
    markdown = _report.write(report, tmp_path)
    assert markdown == tmp_path / "report.md"
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "i"} & set(page.tags)
    assert "http" not in "".join(page.sources)
    [image] = [source for source in page.sources if source.startswith("data:")]
    head, _, content = image.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == (tmp_path / "figures/run_a.png").read_bytes()
    shown = "".join(page.text)
    for wanted in ("a < b & x<y> bold", "Cap<tion>", "a | b", "python x.py --a='<b>'"):
        assert wanted in shown
    assert text.count("<td style") == 2  # the column of numbers only
    assert text.index("</table>") < text.index("python x.py")


def test_markdown_has_tables_that_hold_together(report):
    lines = _report.to_markdown(report).splitlines()
    assert lines[0] == "# Title & more" and "## One <1>" in lines
    rows = [line for line in lines if line.startswith("|")]
    assert [re.sub(" +", " ", row) for row in rows[:4:2]] == [
        "| method | value | source |",
        r"| a \| b | 1.5 ± 0.2 | here |",
    ]
    assert "> **Missing:** `run` is missing" in lines
    assert '![a "figure"](figures/run_a.png)' in lines


def test_old_figures_are_gone_from_a_new_report(report, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/old.png").touch()
    _report.write(report, tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["run_a.png"]


@pytest.mark.parametrize("name", ["paper_smoke", "paper_cpu", "paper_gpu"])
@pytest.mark.slow
def test_a_report_of_nothing_says_what_is_missing_section_by_section(name, tmp_path):
    config = configs.load(name)
    reproduce.write_report(config, tmp_path, command="python launch/reproduce.py")
    text = (tmp_path / "report.md").read_text()
    plan = _plan.read(config, tmp_path)
    for stage in plan.values():
        assert f"{stage.label} (`{stage.name}`) is not made yet." in text
        assert f"python launch/reproduce.py --only={stage.name}`" in text
    sections = text.split("\n## ")[2:-2]
    assert len(sections) == len(_plan.SECTIONS)
    for section in sections:
        assert "> **Missing:**" in section and "**Published, and ours**" in section
    assert f"0 of {len(plan)} stages are done" in text
    Page((tmp_path / "report.html").read_text())


def test_a_pretrained_prediction_counts_for_the_encoder_that_it_starts_from(tmp_path):
    plan = _plan.read(configs.load("paper_cpu"), tmp_path)
    names = ("classify_mnist", "classify_mnist_neural_graphs")
    results = {name: {"task": "label", "accuracy": 0.5} for name in names}
    contents = _contents.Contents(plan, {}, results, {}, "", tmp_path)
    ours = _ours.prediction(contents)
    assert ours == dict.fromkeys(("mnist_scale_gmn", "mnist_neural_graphs"), "50.0 %")
    assert ours.keys() <= {line.key for line in _published.PREDICTION}


def test_published_numbers_have_keys_of_their_own_and_sources():
    assert tuple(_published.SECTIONS) == _plan.SECTIONS == tuple(_ours.SECTIONS)
    for lines in _published.SECTIONS.values():
        assert len({line.key for line in lines}) == len(lines)
        assert all(line.quantity and line.value and line.source for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (99.4, "99 s"), (150.0, "2.5 min"), (7200.0, "2.0 h")],
)
def test_durations_read_well(seconds, text):
    assert _contents.duration(seconds) == text
