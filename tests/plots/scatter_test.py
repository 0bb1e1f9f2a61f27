import numpy as np
import pytest

from symmerge_jax import plots


def test_one_measure_against_another_shares_its_axes():
    x, y = np.array([0.2, 0.9]), np.array([0.3, 0.8])
    figure = plots.versus({"train": (x, y), "test": (y, x)}, "before", "after")
    first, second = figure.axes
    assert first.get_xlim() == second.get_ylim() == first.get_ylim()
    np.testing.assert_allclose(second.collections[0].get_offsets(), np.c_[y, x])
    assert (first.get_ylabel(), second.get_xlabel()) == ("after", "before")
    with pytest.raises(ValueError, match=r"train: x and y must be \[N\]"):
        plots.versus({"train": (x, y[:1])}, "before", "after")
