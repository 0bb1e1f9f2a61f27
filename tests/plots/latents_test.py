import numpy as np
import pytest

from symmerge_jax import plots

POINTS = np.random.default_rng(0).normal(size=(12, 2))
CLASSES = np.arange(12) % 3
MAPS = {
    "t-SNE": {"one": POINTS, "two": -POINTS},
    "UMAP": {"one": 2 * POINTS, "two": POINTS[::-1]},
}


def texts(figure):
    return [[text.get_text() for text in x.get_texts()] for x in figure.legends]


def test_rows_are_maps_and_columns_are_encoders():
    figure = plots.map_panels(MAPS, CLASSES, names="abc")
    assert [axis.get_title() for axis in figure.axes] == ["one", "two", "", ""]
    assert [axis.get_ylabel() for axis in figure.axes] == ["t-SNE", "", "UMAP", ""]
    assert texts(figure) == [["a", "b", "c"]]
    for axis, where in zip(
        figure.axes, [w for by in MAPS.values() for w in by.values()], strict=True
    ):
        drawn = axis.collections[0].get_offsets()
        colors = axis.collections[0].get_facecolors()
        looks = {tuple(p): tuple(c) for p, c in zip(drawn, colors, strict=True)}
        of_class = [{looks[tuple(where[i])] for i in range(k, 12, 3)} for k in range(3)]
        assert all(len(found) == 1 for found in of_class)
        assert len(set.union(*of_class)) == 3


def test_orbits_lie_above_pale_points():
    twins = np.array([[0.5, 0.5], [0.1, 0.2]])
    orbits = {kind: {"one": twins, "two": 2 * twins} for kind in MAPS}
    figure = plots.map_panels(
        MAPS, CLASSES, orbits=orbits, orbit_label="twins", network=4
    )
    points, drawn, own = figure.axes[1].collections[:3]
    np.testing.assert_array_equal(drawn.get_offsets(), 2 * twins)
    np.testing.assert_array_equal(own.get_offsets(), [-POINTS[4]])
    assert points.get_alpha() < 1 and points.get_zorder() < drawn.get_zorder()
    assert texts(figure) == [["0", "1", "2"], ["twins", "the network itself"]]


def test_numbers_have_a_scale_instead_of_a_legend():
    figure = plots.map_panels(MAPS, np.linspace(0.1, 0.9, 12), values_label="accuracy")
    assert not figure.legends and figure.axes[-1].get_ylabel() == "accuracy"
    low, high = figure.axes[0].collections[0].get_clim()
    assert 0.1 < low < 0.2 and high == 0.9


def test_everything_fits_onto_the_page():
    for num, width in ((1, 3.3), (2, 3.3), (5, 6.75)):
        maps = {"t-SNE": {str(i): POINTS for i in range(num)}}
        figure = plots.map_panels(maps, np.arange(12) % 10)
        figure.draw_without_rendering()
        assert figure.get_figwidth() == width and len(figure.axes) == num
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width * figure.dpi


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.map_panels({}, CLASSES)
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.map_panels({"t-SNE": {}}, CLASSES)
    with pytest.raises(ValueError, match=r"'one' must be \[12, 2\], got \(3, 2\)"):
        plots.map_panels({"t-SNE": {"one": POINTS[:3]}}, CLASSES)
    with pytest.raises(ValueError, match="'UMAP' are those of"):
        plots.map_panels({**MAPS, "UMAP": {"one": POINTS}}, CLASSES)
    with pytest.raises(ValueError, match="Class 2 has no name"):
        plots.map_panels(MAPS, CLASSES, names="ab")
