import numpy as np
import pytest

from symmerge_jax import plots

X = np.linspace(0, 1, 4)
A = (X, X**2, np.full(4, 0.1))
B = (X, 1 - X, np.zeros(4))


def colors(axis):
    return [line.get_color() for line in axis.lines]


def test_every_panel_draws_means_and_bands():
    figure = plots.mean_curves({"one": {"a": A, "b": B}, "two": {"b": B}}, "x", "y")
    one, two = figure.axes
    assert (one.get_title(), two.get_title()) == ("one", "two")
    np.testing.assert_allclose(one.lines[0].get_ydata(), A[1])
    band = one.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [-0.1, 1.1])
    assert colors(one)[1] == colors(two)[0] != colors(one)[0]
    assert one.get_ylim() == two.get_ylim()
    assert (one.get_xlabel(), two.get_xlabel()) == ("x", "x")
    assert (one.get_ylabel(), figure.get_supylabel()) == ("y", "")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_names_fix_the_colours_over_figures():
    both = plots.mean_curves({"one": {"a": A, "b": B}}, "x", "y")
    only = plots.mean_curves({"one": {"b": B}}, "x", "y", names=["a", "b"])
    assert colors(both.axes[0])[1] == colors(only.axes[0])[0]
    assert colors(plots.mean_curves({"one": {"b": B}}, "x", "y").axes[0]) != colors(
        only.axes[0]
    )


def test_panels_fill_rows_and_points_are_marked():
    panels = {str(i): {"a": A} for i in range(5)}
    figure = plots.mean_curves(panels, "x", "y", num_columns=2, markers=True)
    assert len(figure.axes) == 5
    assert (figure.axes[0].get_ylabel(), figure.get_supylabel()) == ("", "y")
    assert [bool(axis.get_xlabel()) for axis in figure.axes] == [0, 0, 0, 1, 1]
    assert figure.axes[0].lines[0].get_marker() == "o"
    plain = plots.mean_curves(panels, "x", "y", num_columns=2)
    assert plain.axes[0].lines[0].get_marker() == "None"


def test_panels_with_titles_alone_have_axes_of_their_own():
    figure = plots.mean_curves(
        {"loss": {"a": A, "b": (X, 5 * X, np.full(4, np.nan))}, "accuracy": {"b": B}},
        "x",
        styles={"b": plots.Style("k", 1)},
        log_scale=["accuracy"],
    )
    loss, accuracy = figure.axes
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--"]
    assert accuracy.lines[0].get_linestyle() == "--" and colors(accuracy) == ["k"]
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("linear", "log")
    assert loss.get_ylim() != accuracy.get_ylim()
    assert figure.get_supylabel() == ""


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.mean_curves({}, "x", "y")
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.mean_curves({"one": {}}, "x", "y")
    with pytest.raises(ValueError, match="names has no 'b'"):
        plots.mean_curves({"one": {"b": B}}, "x", "y", names=["a"])
    with pytest.raises(
        ValueError, match="'a' must have x, mean and error of one shape"
    ):
        plots.mean_curves({"one": {"a": (X, X[:3], X)}}, "x", "y")
    with pytest.raises(ValueError, match="log_scale names no panel: two"):
        plots.mean_curves({"one": {"a": A}}, "x", log_scale=["two"])


def test_many_methods_of_one_panel_stand_beside_it():
    few = plots.mean_curves({"one": {"a": A, "b": B}}, "x", "y")
    lines = {f"a method with a long name, {i}": A for i in range(15)}
    many = plots.mean_curves({"one": lines}, "x", "y")
    assert (few.get_figwidth(), many.get_figwidth()) == (3.3, 6.75)
    many.draw_without_rendering()
    assert many.legends[0].get_window_extent().x0 > many.axes[0].bbox.x1
    assert many.legends[0].get_window_extent().y0 >= 0


def test_counts_have_no_fractions_on_their_axis():
    sizes = np.array([2.0, 3.0])
    curve = (sizes, sizes, sizes)
    figure = plots.mean_curves({"one": {"a": curve}}, "networks", "y")
    assert {tick % 1 for tick in figure.axes[0].get_xticks()} == {0}
    figure = plots.mean_curves({"one": {"a": A}}, "x", "y")
    assert {tick % 1 for tick in figure.axes[0].get_xticks()} != {0}


def test_logarithmic_axes_of_a_small_range_have_plain_numbers():
    def tick_labels(*values):
        curve = (X[:2], np.array(values), np.zeros(2))
        figure = plots.mean_curves({"a": {"a": curve}}, "x", log_scale=["a"])
        figure.draw_without_rendering()
        axis = figure.axes[0].yaxis
        return [x.get_text() for x in axis.get_ticklabels(which="both") if x.get_text()]

    small, large = tick_labels(2.2, 2.3), tick_labels(1e-3, 1.0)
    assert 2 <= len(small) <= 6 and all(float(text) for text in small)
    assert any("10^" in text for text in large)
