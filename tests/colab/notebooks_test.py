"""The notebooks: their form, and each one run in a kernel with small settings."""

import ast
import importlib
import json
import pathlib
import re
import tomllib

import IPython.core.inputtransformer2
import jupyter_client
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
METADATA = {"accelerator", "colab", "kernelspec", "language_info"}

# By notebook: what its cell "Settings" is overruled by, and how many figures it draws.
SMOKE = {
    "canonicalize_and_merge": (
        {"NUM_TWINS": 2, "NUM_POINTS": 3, "HIDDEN_SIZES": (8,), "NUM_EPOCHS": 1},
        3,
    ),
    "learn_to_align": (
        {
            "NUM_NETWORKS": 30,
            "NUM_PAIRS": 2,
            "HIDDEN_SIZES": (8,),
            "NUM_EPOCHS": 1,
            "NUM_STEPS": 2,
            "WORKDIR": "../runs/matcher",
        },
        1,
    ),
    "merge_your_flax_model": (
        {"WIDTH": 3, "NUM_EPOCHS": 1, "NUM_INPUTS": 16, "NUM_POINTS": 3},
        2,
    ),
    "paper_figures": ({"STAGES": ("inrs", "small")}, 2),
    "train_a_canonicalizer": (
        {
            "CONFIG": "../launch/configs/smoke.py",
            "OVERRIDES": {
                "architecture.hidden_sizes": "4,",
                "encoder.kind": "probe",
                "encoder.num_layers": "4",
            },
            "WORKDIR": "../runs/smoke",
        },
        4,
    ),
}
EARLY = """
%reset -f
%cd -q {folder}
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel|traitlets|jupyter|zmq")
"""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path, kind):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def settings_cell(cells):
    """Return the place of the one cell that tests overrule."""
    [place] = [
        i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", [])
    ]
    return place


def python_of(cell):
    """Return a code cell as plain Python: magics become calls."""
    manager = IPython.core.inputtransformer2.TransformerManager()
    return ast.parse(manager.transform_cell(cell.source))


def test_every_notebook_is_run():
    assert sorted(SMOKE) == [path.stem for path in NOTEBOOKS]


@each_notebook
def test_notebook_is_normalised_and_short(path):
    text = path.read_text("utf-8")
    content = json.loads(text)
    assert text == json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    nbformat.validate(content)
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"].keys() <= METADATA
    assert content["metadata"]["language_info"] == {"name": "python"}  # no version
    cells = content["cells"]
    assert len(cells) <= 25
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell["metadata"].keys() <= {"tags"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@each_notebook
def test_first_cell_has_title_and_badge(path):
    """The badge leads to this notebook, once the project tells where it is."""
    first = nbformat.read(path, 4).cells[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository", "")
    link = "https://colab.research.google.com/github/"
    if address:
        owner_and_name = address.removeprefix("https://github.com/").strip("/")
        link += f"{owner_and_name}/blob/main/colab/{path.name}"
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    badge = "https://colab.research.google.com/assets/colab-badge.svg"
    assert f"[![Open in Colab]({badge})]({link})" in first.source
    install = cells_of(path, "code")[0].source
    assert f'REPOSITORY = "{address}"' in install


@each_notebook
def test_notebook_has_no_logic_of_its_own(path):
    """But for cells tagged "yours": what a user brings, a model and its training."""
    for cell in cells_of(path, "code"):
        if "yours" in cell.metadata.get("tags", []):
            continue
        for node in ast.walk(python_of(cell)):
            assert not isinstance(
                node,
                ast.FunctionDef
                | ast.AsyncFunctionDef
                | ast.ClassDef
                | ast.While
                | ast.Try
                | ast.With,
            ), f"{cell.id}, line {node.lineno}"


@each_notebook
def test_notebook_uses_public_names_only(path):
    modules = {"symmerge_jax": importlib.import_module("symmerge_jax")}
    for cell in cells_of(path, "code"):
        for node in ast.walk(python_of(cell)):
            ours = ("symmerge_jax", "experiments")
            if isinstance(node, ast.ImportFrom) and node.module.startswith(ours):
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    modules[alias.name] = importlib.import_module(name)
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr == "_replace"
    used = {
        (node.value.id, node.attr)
        for cell in cells_of(path, "code")
        for node in ast.walk(python_of(cell))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    assert used
    for module, name in used:
        public = getattr(modules[module], "__all__", dir(modules[module]))
        assert name in public, f"{module}.{name}"


@each_notebook
def test_files_that_a_notebook_names_exist(path):
    cells = nbformat.read(path, 4).cells
    for name in re.findall(r"[\w./]+\.py\b", "\n".join(c.source for c in cells)):
        folder = ROOT / "colab" if name.startswith("../") else ROOT
        places = [folder / name, ROOT / "launch" / name, ROOT / "launch/configs" / name]
        assert any(place.is_file() for place in places), name


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all notebooks, which forgets all names before each of them.

    It takes seconds to import JAX, and longer to compile again what all of them use.
    """
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'launch'}")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        manager = jupyter_client.KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(folder))
        yield manager
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.mark.slow
@each_notebook
def test_notebook_runs(path, kernel, tmp_path):
    """In a folder of its own, beside a link to `launch`, as in a checkout."""
    notebook = nbformat.read(path, 4)
    settings, num_figures = SMOKE[path.stem]
    place = settings_cell(notebook.cells)
    source = notebook.cells[place].source
    assert source.startswith("# Settings")
    assert {f"{name} = " for name in settings} <= set(
        re.findall(r"^\w+ = ", source, re.M)
    )
    overruled = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    notebook.cells[place + 1 : place + 1] = [nbformat.v4.new_code_cell(overruled)]
    early = EARLY.format(folder=tmp_path / "colab")
    notebook.cells[:0] = [nbformat.v4.new_code_cell(early)]

    (tmp_path / "colab").mkdir()
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    client = nbclient.NotebookClient(notebook, timeout=600, km=kernel)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()

    outputs = [
        out for c in notebook.cells if c.cell_type == "code" for out in c.outputs
    ]
    data = [out.data for out in outputs if "data" in out]
    pages = "".join(bundle.get("text/html", "") for bundle in data)
    shown = sum("image/png" in bundle for bundle in data)
    assert shown + pages.count("data:image/png") == num_figures
    said = "".join(out.text for out in outputs if out.output_type == "stream")
    assert "Warning" not in said, said
