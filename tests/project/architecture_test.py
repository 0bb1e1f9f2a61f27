"""The rules of the code base that a machine can check."""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

from symmerge_jax import plots, storage, zoo

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "symmerge_jax"
EXPERIMENTS = ROOT / "launch" / "experiments"

# Who may import whom: everything may import itself and what everything rests on.
BASE = ("typing", "files", "programs")
ALLOWED = {
    "typing": "",
    "files": "",
    "programs": "",
    "symmetry": "",
    "assignment": "",
    "training": "",
    "plots": "",
    "networks": "symmetry",
    "tracing": "symmetry",
    "graphs": "symmetry",
    "certificates": "symmetry",
    "merging": "symmetry",
    "alignment": "symmetry assignment merging",
    "storage": "symmetry",
    "zoo": "symmetry networks training",
    "metanets": "symmetry networks graphs",
    "autoencoders": "symmetry networks graphs storage metanets",
    "deep_align": "symmetry networks graphs storage metanets merging alignment",
    "learning": (
        "symmetry networks storage metanets autoencoders deep_align zoo training"
    ),
}
TOP = {"root", "testing"}  # import anything above
ABOVE = "cli"  # imports all of the library
GROUPS = (
    *("harness", "populations", "train", "latents", "compare", "real"),
    *("registry", "paper"),
)
"""Groups of experiments: each may import those before it."""

FILES = sorted(PACKAGE.rglob("*.py"))
LAUNCH = sorted((ROOT / "launch").rglob("*.py"))
MODULES = sorted(
    {
        ".".join(("symmerge_jax", *path.relative_to(PACKAGE).parts[:-1]))
        for path in PACKAGE.rglob("__init__.py")
    }
    | {"symmerge_jax.testing", "symmerge_jax.typing"}
)


def name_of(path):
    return str(path.relative_to(ROOT))


def unit_of(path):
    """Package that a file belongs to; the verbs beside `__init__.py` are the root."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "root" if first.startswith("_") else first


def is_unit(name):
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def our_imports(source):
    """Yield (module, name) of every import of this library, `name` None for plain."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "symmerge_jax":
                    yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if (node.module or "").split(".")[0] == "symmerge_jax":
                for alias in node.names:
                    yield node.module, alias.name


def imported_unit(module, name):
    parts = [*module.split("."), *([name] if name else [])]
    if len(parts) == 1 or parts[1].startswith("_") or not is_unit(parts[1]):
        return "root"
    return parts[1]


def may_import(unit, other):
    if other == unit or (other in BASE and unit not in BASE):
        return True
    if unit in TOP:
        return other not in TOP and other != ABOVE
    if unit == ABOVE:
        return True
    return other in ALLOWED[unit].split()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_layers(path):
    unit = unit_of(path)
    assert unit in ALLOWED or unit in {*TOP, ABOVE}, (
        f"{unit}: unknown package, add its edges"
    )
    for module, name in our_imports(path.read_text()):
        other = imported_unit(module, name)
        assert may_import(unit, other), f"{unit} may not import {other}"
        if unit not in (other, "root") and other != "typing":
            private = [part for part in f"{module}.{name}".split(".") if part[0] == "_"]
            assert not private, f"{unit} reaches into {module}.{name}"
            assert module == "symmerge_jax", f"import the package: {module}.{name}"


@pytest.mark.parametrize(
    ("unit", "source", "allowed"),
    [
        ("symmetry", "from symmerge_jax import networks", False),
        ("networks", "from symmerge_jax.symmetry import act", True),
        ("metanets", "import symmerge_jax.autoencoders", False),
        ("training", "from symmerge_jax import __version__", False),
        ("root", "from symmerge_jax import zoo", True),
        ("plots", "from symmerge_jax.typing import Array", True),
        ("plots", "from symmerge_jax import files", True),
        ("files", "from symmerge_jax import typing", False),
        ("cli", "from symmerge_jax import align", True),
        ("root", "from symmerge_jax import cli", False),
    ],
)
def test_the_layer_rule_is_not_blind(unit, source, allowed):
    [edge] = our_imports(source)
    assert may_import(unit, imported_unit(*edge)) == allowed


def group_imports(source):
    """Yield the group of every import of an experiment."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            first, *rest = (node.module or "").split(".")
            if first == "experiments":
                yield from rest[:1] or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.py")), ids=name_of)
def test_experiments_follow_their_floors(path):
    group = path.relative_to(EXPERIMENTS).parts[0].removesuffix(".py")
    for other in group_imports(path.read_text()):
        assert GROUPS.index(other) <= GROUPS.index(group), f"imports {other}"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.rglob("*.py")), ids=name_of)
def test_groups_of_experiments_share_public_names(path):
    group = path.relative_to(EXPERIMENTS).parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        module = getattr(node, "module", None) or ""
        if isinstance(node, ast.ImportFrom) and module.startswith("experiments."):
            private = [alias.name for alias in node.names if alias.name[0] == "_"]
            assert not private or module.split(".")[1] == group, f"imports {private}"


@pytest.mark.parametrize("path", LAUNCH, ids=name_of)
def test_launch_imports_public_names_only(path):
    if "benchmark" in name_of(path):
        return  # they time the parts
    for module, name in our_imports(path.read_text()):
        parts = [*module.split("."), *([name] if name else [])]
        assert not any(part[0] == "_" for part in parts), f"imports {module}.{name}"


@pytest.mark.parametrize(
    "path", [*FILES, *sorted(EXPERIMENTS.rglob("*.py"))], ids=name_of
)
def test_files_are_short_and_silent(path):
    source = path.read_text()
    assert source.count("\n") <= 350, "split files above 350 lines"
    assert ast.get_docstring(ast.parse(source)), "no module docstring"
    assert not re.search(r"\bTODO\b|\bFIXME\b|\bXXX\b", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"print in line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            caught = node.type and ast.unparse(node.type)
            assert caught not in (None, "Exception", "BaseException"), (
                f"blanket except in line {node.lineno}"
            )


def export_order(name):
    """Constants, classes, functions; each by name (as ruff sorts)."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("name", MODULES)
def test_exports_are_sorted_complete_and_resolvable(name):
    module = importlib.import_module(name)
    if name in ("symmerge_jax.testing", "symmerge_jax.typing"):
        return
    exported = module.__all__
    assert exported == sorted(exported, key=export_order)
    assert len(set(exported)) == len(exported)
    for entry in exported:
        assert hasattr(module, entry), f"{name}.{entry} does not exist"
    tree = ast.parse(pathlib.Path(inspect.getfile(module)).read_text())
    bound = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert bound <= {*exported, "annotations", "TYPE_CHECKING"}, (
        "imported but not exported"
    )


def public_functions():
    for name in MODULES:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", [n for n in vars(module) if n[0] != "_"])
        for entry in names:
            thing = getattr(module, entry)
            ours = getattr(thing, "__module__", "").startswith("symmerge_jax")
            if ours and inspect.isfunction(thing):
                yield pytest.param(thing, id=f"{name}.{entry}")
            elif ours and inspect.isclass(thing):
                assert inspect.getdoc(thing), f"{name}.{entry} has no docstring"


@pytest.mark.parametrize("function", list(public_functions()))
def test_public_functions_document_arguments_and_result(function):
    """A lone argument may be explained by a summary "Return ... of ..."."""
    doc = inspect.getdoc(function)
    assert doc, "no docstring"
    summary = doc.splitlines()[0]
    assert summary.endswith(".") or doc.splitlines()[1].endswith("."), summary
    signature = inspect.signature(function)
    says_what_returns = summary.startswith(("Return", "Yield")) or "Returns:" in doc
    if len(signature.parameters) > 1 or "Args:" in doc:
        assert "Args:" in doc
        for parameter in signature.parameters:
            assert re.search(rf"^\s+\*{{0,2}}{parameter}:", doc, re.M), parameter
    if signature.return_annotation not in (inspect.Signature.empty, None):
        assert says_what_returns or "Yields:" in doc


EXTRAS = (
    *("ml_collections", "matplotlib", "sklearn", "tabulate", "jinja2", "umap"),
    *("h5py", "onnx"),
)
"""What only the extras install: `experiments`, `plots`, `umap`, `keras`, `onnx`."""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_library_needs_no_extra(path):
    """Only figures and the digits need one, and only when they are asked for."""
    tree = ast.parse(path.read_text())
    lazy = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        or (isinstance(function, ast.If) and "TYPE_CHECKING" in ast.dump(function.test))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        roots = {name.partition(".")[0] for name in names}
        assert "absl" not in roots
        if node in lazy and unit_of(path) == "plots":
            roots.discard("matplotlib")
        if node in lazy and unit_of(path) == "zoo":
            roots.discard("sklearn")
        if node in lazy and unit_of(path) == "storage":
            roots -= {"h5py", "onnx"}
        assert roots.isdisjoint(EXTRAS), f"imports {roots}"


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("sklearn", "zoo.load_images('digits')", "experiments"),
        ("matplotlib", "plots.mean_curves({}, 'step')", "plots"),
        ("h5py", "storage.open_checkpoint(hdf5)", "keras"),
        ("onnx", "storage.open_checkpoint(onnx)", "onnx"),
    ],
)
def test_what_is_missing_names_its_extra(module, call, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    names = {"zoo": zoo, "plots": plots, "storage": storage}
    for name, content in (("hdf5", b"\x89HDF\r\n"), ("onnx", b"\x08\x09")):
        names[name] = tmp_path / f"a.{name}"
        names[name].write_bytes(content)
    with pytest.raises(ModuleNotFoundError, match=rf"symmerge_jax\[{extra}\]"):
        eval(call, names)


def test_import_is_light():
    heavy = ["torch", "tensorflow", "orbax", "tqdm", "pooch", "PIL", *EXTRAS]
    code = (
        "import sys, symmerge_jax\n"
        f"sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, f"imported: {result.stderr}"


@pytest.mark.slow
def test_packages_are_attributes_without_an_import():
    names = sorted({module.split(".")[1] for module in MODULES if "." in module})
    code = (
        "import symmerge_jax\n"
        f"assert set({names}) <= set(dir(symmerge_jax))\n"
        f"for name in {names}:\n"
        "    assert getattr(symmerge_jax, name).__name__ == f'symmerge_jax.{name}'\n"
        "assert not hasattr(symmerge_jax, '_merge_files')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_tests_mirror_the_package():
    """Each test file sits in the folder of a package and there are no test packages."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
    units = {
        *ALLOWED,
        *TOP,
        ABOVE,
        "experiments",
        "project",
        "launch",
        "colab",
        "golden",
    }
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} <= units
