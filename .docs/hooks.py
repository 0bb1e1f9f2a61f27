"""Pages of the site that stand elsewhere in the repository, where they stand there.

So their links lead to the same places on the site, and the strict build tests them.
"""

import ast
import json
import logging
import pathlib
import re

from mkdocs.structure import files

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "symmerge_jax"
ELSEWHERE = (
    "README.md",
    "LICENSE",
    "CITATION.cff",
    ".github/CONTRIBUTING.md",
    "symmerge_jax/README.md",
    "symmerge_jax/CHANGELOG.md",
    "symmerge_jax/tracing/README.md",
    "launch/README.md",
    "launch/results/*",
)
MODULES = {
    "symmerge_jax": PACKAGE / "__init__.py",
    **{
        f"symmerge_jax.{path.stem}": path / "__init__.py" if path.is_dir() else path
        for path in sorted(PACKAGE.iterdir())
        if (path / "__init__.py").exists() or path.suffix == ".py"
        if not path.stem.startswith("_")
    },
}
"""What the reference has a page of."""


def on_config(config):
    """Give every public package a place in the navigation."""
    pages = [{name: f"api/{name}.md"} for name in MODULES]
    config.nav[-1:-1] = [{"API reference": pages}]
    return config


def on_files(found, config):
    """Add the pages and pictures of the repository, the notebooks and the reference."""
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            found.append(files.File.generated(config, uri, abs_src_path=str(path)))
    pages = {f"api/{name}.md": f"# {name}\n\n::: {name}\n" for name in MODULES}
    for path in sorted(ROOT.glob("colab/*.ipynb")):
        pages[f"colab/{path.stem}.md"] = _notebook(path)
    for uri, content in pages.items():
        found.append(files.File.generated(config, uri, content=content))
    return found


def _notebook(path):
    """Return a notebook as Markdown, without its badge."""
    cells = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        is_code = cell["cell_type"] == "code"
        cells.append(f"```python\n{text}\n```" if is_code else text)
    return re.sub(r"^\[!\[Open in Colab.*\n", "", "\n\n".join(cells), flags=re.M)


def on_page_markdown(markdown, **_):
    """Put sections of other pages where `{{ path: title }}` asks for them."""
    markdown = re.sub(r"^\{\{ (.*): (.*) \}\}$", _section, markdown, flags=re.M)
    return re.sub(r"(\(colab/\w+)\.ipynb\)", r"\1.md)", markdown)


def _section(match):
    path, title = match.groups()
    sections = re.split(r"^## (.*)\n", (ROOT / path).read_text("utf-8"), flags=re.M)
    return dict(zip(sections[1::2], sections[2::2], strict=True))[title]


def on_page_content(html, page, **_):
    """Warn, which fails the strict build, of public names that have no entry."""
    name = page.file.src_uri.removeprefix("api/").removesuffix(".md")
    if page.file.src_uri.startswith("api/"):
        for public in _public(MODULES[name]):
            if f'id="{name}.{public}"' not in html:
                log = logging.getLogger("mkdocs.hooks")
                log.warning("%s.%s is not documented", name, public)
    return html


def _public(path):
    """Return the public names of a module, read off its file."""
    body = ast.parse(path.read_text("utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name[0] != "_"]
    defined = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [name for name in defined if name[0] != "_"]
