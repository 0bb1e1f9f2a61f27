import numpy as np
import pytest

from symmerge_jax import plots


def test_counts_are_drawn_in_percent_of_their_row():
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 8]]), names=["cat", "dog"])
    axis = figure.axes[0]
    texts = {(t.get_position()): t.get_text() for t in axis.texts}
    assert texts == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    assert [t.get_text() for t in axis.get_yticklabels()] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [(np.ones((2, 3)), None, r"\[C, C\]"), (np.ones((2, 2)), ["a"], "1 names for 2")],
)
def test_shapes_are_checked(counts, names, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(counts, names=names)
