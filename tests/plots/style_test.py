import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from symmerge_jax import plots


@pytest.fixture
def figure():
    return plots.image_rows([np.zeros((2, 4, 4))])


def test_figures_are_saved_and_nothing_else_is_left(figure, tmp_path):
    path = plots.save_figure(figure, tmp_path / "figures" / "a.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
    plots.save_figure(figure, tmp_path / "figures" / "a.pdf")
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.pdf", "a.png"]


def test_equal_figures_give_equal_files(tmp_path):
    for ending in ("png", "pdf"):
        files = []
        for name in "ab":
            figure = plots.scatter_map(np.eye(2), np.array([0, 1]))
            path = plots.save_figure(figure, tmp_path / f"{name}.{ending}")
            files.append(path.read_bytes())
        assert files[0] == files[1]


def test_other_endings_are_refused(figure, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .png or .pdf, not as 'a.jpg'"):
        plots.save_figure(figure, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_the_users_settings_are_left_alone(figure):
    assert matplotlib.rcParams["axes.grid"] == matplotlib.rcParamsDefault["axes.grid"]


def test_neither_import_nor_drawing_loads_pyplot():
    code = (
        "import sys; from symmerge_jax import plots; import numpy as np;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.image_rows([np.zeros((1, 2, 2))]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
