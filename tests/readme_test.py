"""What the pages of the project say: code that runs, files that exist."""

import ast
import re
import sys

import pytest

from tests import pages

ROOT = pages.ROOT
PAGES = [
    "README.md",
    ".github/CONTRIBUTING.md",
    "symmerge_jax/README.md",
    "symmerge_jax/tracing/README.md",
    "launch/README.md",
]
RESULTS = ["launch/results/README.md", "launch/results/DETAILS.md"]


@pytest.mark.slow
def test_the_first_example_runs_as_it_stands():
    names = pages.run(pages.section(ROOT / "README.md", "Twelve lines"))
    assert names["found"].certificate.passed
    assert names["canonical"]["dense_0"]["kernel"].shape == (16, 784, 128)


def test_the_other_examples_use_names_that_exist():
    names = {}
    exec("import symmerge_jax", names)
    for code in pages.blocks((ROOT / "README.md").read_text())[1:]:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                exec(ast.unparse(node), names)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = names.get(node.value.id)
                assert owner is None or hasattr(owner, node.attr), ast.unparse(node)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages.SITE, ids=lambda page: page.stem)
def test_pages_of_the_site_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)
    pages.run(page.read_text())


@pytest.mark.parametrize("page", PAGES + RESULTS)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    assert targets or page not in ("README.md", *RESULTS)
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target


def test_anchors_of_the_results_exist():
    titles = re.findall(r"^#+ (.*)$", (ROOT / RESULTS[1]).read_text(), re.M)
    known = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
    used = re.findall(r"DETAILS\.md#([\w-]+)", (ROOT / RESULTS[0]).read_text())
    assert used and set(used) <= known


def test_files_of_the_map_exist():
    """Files that "How it is built" names lie where it says."""
    text = (ROOT / "symmerge_jax/README.md").read_text()
    paths = set(re.findall(r"`((?:[\w.]+/)+\w+\.py)`", text))
    assert len(paths) > 12
    for path in paths:
        places = [ROOT, ROOT / "symmerge_jax", ROOT / "launch/experiments"]
        assert any((place / path).exists() for place in places), path


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
