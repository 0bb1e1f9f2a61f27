import numpy as np
import pytest

from symmerge_jax import plots


def test_each_class_has_one_colour():
    points = np.random.default_rng(0).normal(size=(30, 2))
    labels = np.arange(30) % 3
    figure = plots.scatter_map(points, labels, names="abc", title="latents")
    axis = figure.axes[0]
    drawn = axis.collections[0]
    offsets, colors = drawn.get_offsets(), drawn.get_facecolors()
    assert len(offsets) == 30
    by_class = [
        {tuple(c) for p, c in zip(offsets, colors, strict=True) if p in points[chosen]}
        for chosen in (labels == 0, labels == 1, labels == 2)
    ]
    assert all(len(found) == 1 for found in by_class)
    assert len(set.union(*by_class)) == 3
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts == ["a", "b", "c"]
    assert axis.get_title() == "latents"


def test_one_class_needs_no_legend():
    figure = plots.scatter_map(np.zeros((4, 2)), np.zeros(4, int))
    assert figure.axes[0].get_legend() is None


def test_points_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"points must be \[N, 2\]"):
        plots.scatter_map(np.zeros((4, 3)), np.zeros(4, int))
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(3,\)"):
        plots.scatter_map(np.zeros((4, 2)), np.zeros(3, int))
    with pytest.raises(ValueError, match="class 5 has no name"):
        plots.scatter_map(np.zeros((1, 2)), np.array([5]), names="abc")


def test_one_measure_against_another_shares_its_axes():
    x, y = np.array([0.2, 0.9]), np.array([0.3, 0.8])
    figure = plots.versus({"train": (x, y), "test": (y, x)}, "before", "after")
    first, second = figure.axes
    assert first.get_xlim() == second.get_ylim() == first.get_ylim()
    np.testing.assert_allclose(second.collections[0].get_offsets(), np.c_[y, x])
    assert (first.get_ylabel(), second.get_xlabel()) == ("after", "before")
    with pytest.raises(ValueError, match=r"train: x and y must be \[N\]"):
        plots.versus({"train": (x, y[:1])}, "before", "after")
