import numpy as np
import pytest

from symmerge_jax import plots

NEAR = np.kron(np.eye(3), np.ones((4, 4)))
FAR = 1 - NEAR


def test_all_encoders_share_one_scale():
    distances = {"one": NEAR, "two": 2 * FAR}
    figure = plots.distance_panels(distances, 4, label="distance")
    assert [axis.get_title() for axis in figure.axes] == ["one", "two", ""]
    assert figure.axes[-1].get_ylabel() == "distance"
    for axis, drawn in zip(figure.axes, distances.values(), strict=False):
        [image] = axis.images
        np.testing.assert_array_equal(image.get_array(), drawn)
        assert image.get_clim() == (0, 2)
        assert len(axis.lines) == 4  # between three groups, in both directions


def test_many_encoders_go_on_in_another_row_of_the_page():
    figure = plots.distance_panels({str(i): FAR for i in range(6)}, 4, label="x")
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 6.75 and len(figure.axes) == 7
    tops = {round(axis.get_position().y1, 3) for axis in figure.axes[:6]}
    assert len(tops) == 2


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        ({}, "nothing to draw"),
        ({"a": NEAR, "b": NEAR[:4, :4]}, r"'b' must be square, like all others.*\(4"),
        ({"a": np.zeros((6, 6))}, "a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_refused(distances, message):
    with pytest.raises(ValueError, match=message):
        plots.distance_panels(distances, 4, label="x")


def test_the_label_of_the_scale_fits_beside_one_row():
    label = "distance of latents (mean of networks: 1)"
    figure = plots.distance_panels({"one": NEAR, "two": FAR}, 4, label=label)
    figure.draw_without_rendering()
    box = figure.axes[-1].yaxis.label.get_window_extent()
    assert box.y0 >= 0 and box.y1 <= figure.bbox.y1
