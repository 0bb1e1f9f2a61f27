"""Figures of the runs of these tests are drawn as pixels only, which halves the time.

That a figure is the same drawing as .pdf is tested once, in `tests/plots`.
"""

import matplotlib.figure
import pytest


@pytest.fixture(scope="module", autouse=True)
def _pixels_only():
    savefig = matplotlib.figure.Figure.savefig

    def save(figure, file, *, format, **options):
        if format == "pdf":
            file.write(b"%PDF")
        else:
            savefig(figure, file, format=format, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", save)
        yield
