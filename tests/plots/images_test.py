import numpy as np
import pytest

from symmerge_jax import plots


def test_each_image_has_its_place():
    originals = np.random.default_rng(0).random((3, 8, 8))
    finer = np.kron(originals, np.ones((1, 2, 2)))
    figure = plots.image_rows(
        [originals, finer], ["INR", "decoded"], ["a", "b", "c"], vmin=-1.0, vmax=2.0
    )
    assert len(figure.axes) == 6
    shown = figure.axes[4].images[0]
    np.testing.assert_array_equal(shown.get_array(), finer[1])
    assert shown.get_clim() == (-1, 2)
    assert figure.axes[3].get_ylabel() == "decoded"
    assert figure.axes[2].get_title() == "c"


def test_signals_are_curves():
    signals = np.linspace(0, 1, 10).reshape(2, 1, 5)
    figure = plots.image_rows([signals], vmax=2.0)
    [curve] = figure.axes[1].lines
    np.testing.assert_array_equal(curve.get_ydata(), signals[1, 0])
    np.testing.assert_allclose(figure.axes[1].get_ylim(), (-0.1, 2.1))


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([], None, "at least one array"),
        ([np.zeros((8, 8))], None, "at least one array"),
        ([np.zeros((2, 8, 8)), np.zeros((3, 8, 8))], None, r"row 1 .* expected \[2"),
        ([np.zeros((2, 8, 8))], ["a", "b"], "2 row_labels for 1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.image_rows(rows, labels)
