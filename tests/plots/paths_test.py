import numpy as np
import pytest

from symmerge_jax import plots


def lines_of(axis):
    return [line for line in axis.lines if len(line.get_xdata()) > 2]


def test_paths_keep_the_colour_of_a_method_and_dash_the_chosen():
    one, many = np.array([0.0, 2.0, 1.0]), np.arange(6.0).reshape(2, 3)
    figure = plots.paths(
        {"loss": {"a": one, "b": many}, "accuracy": {"b": one}},
        dashed=["b"],
        log_scale=["accuracy"],
    )
    loss, accuracy = figure.axes
    first, second = lines_of(loss)
    assert lines_of(accuracy)[0].get_color() == second.get_color() != first.get_color()
    assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
    np.testing.assert_array_equal(first.get_xdata(), [0, 0.5, 1])
    np.testing.assert_array_equal(second.get_ydata(), many.mean(axis=0))
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("linear", "log")
    [band] = loss.collections  # a band for several pairs only
    top = band.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(3.5 + 1.5)  # standard error of (2, 5)
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b"]


@pytest.mark.parametrize(
    ("panels", "options", "message"),
    [
        ({}, {}, "nothing to draw"),
        ({"loss": {}}, {}, "nothing to draw"),
        ({"loss": {"a": [1, 2]}}, {"dashed": ["c"]}, "no method: c"),
        ({"loss": {"a": [1, 2]}}, {"log_scale": ["acc"]}, "no panel: acc"),
    ],
)
def test_what_cannot_be_drawn_is_refused(panels, options, message):
    with pytest.raises(ValueError, match=message):
        plots.paths(panels, **options)
