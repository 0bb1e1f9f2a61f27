"""Pages of the project, read and run as a user would from top to bottom."""

import contextlib
import io
import pathlib
import re
import shlex

from symmerge_jax import cli

ROOT = pathlib.Path(__file__).parents[1]
SITE = sorted((ROOT / ".docs/pages").glob("*.md"))
"""What is written for the site alone."""

_FENCE = re.compile(r"^```(python|text|sh)\n(.*?)^```", re.M | re.S)


def section(page, title=""):
    """Return a section of a page; the top of the page without a title."""
    parts = re.split(r"^## (.*)\n", page.read_text(), flags=re.M)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))[title]


def blocks(text, language="python"):
    """Return the code in one language."""
    return [code for kind, code in _FENCE.findall(text) if kind == language]


def run(text, **names):
    """Run the code of a text in the working directory; return the names that it makes.

    Python that begins with `# FILE` is written to the file, too. Text behind Python is
    what it prints. Of shells only `symmerge-jax` is run, and has to succeed.
    """
    printed = ""
    for language, code in _FENCE.findall(text):
        if language == "text":
            assert printed == code
        elif language == "sh":
            for line in code.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "symmerge-jax", line
                assert cli.main(arguments) == 0, line
        else:
            if file := re.match(r"# (\w+\.py)\n", code):
                pathlib.Path(file[1]).write_text(code)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            printed = out.getvalue()
    return names
