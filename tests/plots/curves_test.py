import numpy as np
import pytest

from symmerge_jax import plots

METRICS = {
    "loss": (np.arange(1, 5), np.array([4.0, 3.0, 2.0, 1.0])),
    "val/mse": (np.array([2, 4]), np.array([3.5, 1.5])),
    "lr": (np.arange(1, 5), np.full(4, 1e-3)),
}


def test_every_metric_has_a_panel():
    figure = plots.training_curves(METRICS)
    assert [axis.get_title() for axis in figure.axes] == ["loss", "val/mse", "lr"]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xdata(), [2, 4])


def test_panels_group_metrics():
    panels = {"error": ("loss", "val/mse"), "a": ("lr",), "b": ("lr",), "c": ("lr",)}
    figure = plots.training_curves(METRICS, panels, log_scale=("error",))
    assert len(figure.axes) == 4
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[1].get_yscale() == "linear"
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["loss", "val/mse"]
    assert figure.axes[1].get_legend() is None


def test_panels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.training_curves({})
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.training_curves(METRICS, {"error": ()})
    with pytest.raises(ValueError, match="needs the metric 'mse'; there are loss,"):
        plots.training_curves(METRICS, {"error": ("mse",)})
    with pytest.raises(ValueError, match="log_scale names no panel: eror"):
        plots.training_curves(METRICS, {"error": ("loss",)}, log_scale=("eror",))


def test_scaling_draws_lines_and_a_guide_through_the_last_point():
    sizes = np.array([1e4, 1e2, 1e3])
    lines = {"a": (sizes, 2e-3 * sizes), "b": (sizes, 1e-3 * sizes)}
    figure = plots.scaling({"edges": (lines, 1.0), "layers": (lines, None)}, "seconds")
    axis = figure.axes[0]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    a, b, guide = axis.lines
    np.testing.assert_allclose(guide.get_ydata(), [0.2, 20.0])
    assert len({a.get_color(), b.get_color(), guide.get_color()}) == 3
    assert [axis.get_xlabel() for axis in figure.axes] == ["edges", "layers"]
    assert len(figure.axes[1].lines) == 2


def test_lines_without_logarithm_are_refused():
    for panels in ({}, {"x": ({}, 1.0)}):
        with pytest.raises(ValueError, match="nothing to draw"):
            plots.scaling(panels, "y")
    with pytest.raises(ValueError, match="'a' has values that are not positive"):
        plots.scaling({"x": ({"a": ([1, 2], [0.0, 1.0])}, None)}, "y")
