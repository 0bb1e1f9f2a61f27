import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from symmerge_jax import plots
from symmerge_jax.plots import _style


@pytest.fixture
def figure():
    return plots.image_rows([np.zeros((2, 4, 4))])


def test_figures_are_saved_and_nothing_else_is_left(figure, tmp_path):
    path = plots.save_figure(figure, tmp_path / "figures" / "a.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
    plots.save_figure(figure, tmp_path / "figures" / "a.pdf")
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.pdf", "a.png"]


def test_a_name_without_ending_is_saved_as_pixels_and_as_a_drawing(figure, tmp_path):
    plots.save_figure(figure, tmp_path / "a")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png"]


def test_equal_figures_give_equal_files(tmp_path):
    for ending in ("png", "pdf"):
        files = []
        for name in "ab":
            figure = plots.versus({"a": (np.eye(2)[0], np.eye(2)[1])}, "x", "y")
            path = plots.save_figure(figure, tmp_path / f"{name}.{ending}")
            files.append(path.read_bytes())
        assert files[0] == files[1]


def test_other_endings_are_refused(figure, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .png or .pdf, not as 'a.jpg'"):
        plots.save_figure(figure, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_the_users_settings_are_left_alone(figure):
    assert matplotlib.rcParams["axes.grid"] == matplotlib.rcParamsDefault["axes.grid"]


def test_given_styles_are_kept_and_others_get_the_colours_that_are_left():
    given = {"decoded": plots.Style(plots.COLORS[1], 2), "unused": plots.Style("k")}
    alone = _style.assign_styles(["decoded"], given)
    among = _style.assign_styles(["other", "decoded", "another"], given)
    assert alone["decoded"] == (plots.COLORS[1], 2, _style.MARKERS[0])
    assert among["decoded"][:2] == alone["decoded"][:2]
    assert len({style.color for style in among.values()}) == 3


def test_legends_fit_their_figure():
    labels = ["x" * 30, "y"]
    for width in (_style.COLUMN_WIDTH, _style.TEXT_WIDTH):
        curves = {name: 3 * (np.linspace(0, 1, 3),) for name in labels * 3}
        panels = {str(i): curves for i in range(1 if width < 4 else 2)}
        figure = plots.mean_curves(panels, "x")
        figure.draw_without_rendering()
        assert figure.get_figwidth() == width
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width * figure.dpi


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'symmerge_jax\[plots\]'"):
        plots.image_rows([np.zeros((1, 2, 2))])


@pytest.mark.slow
def test_neither_import_nor_drawing_loads_pyplot():
    code = (
        "import sys; from symmerge_jax import plots; import numpy as np;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.image_rows([np.zeros((1, 2, 2))]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
