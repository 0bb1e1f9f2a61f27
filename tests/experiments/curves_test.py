import numpy as np

from experiments.compare import curves


def test_summary_of_known_curves():
    lams = np.linspace(0, 1, 41)
    bump = lambda height: 4 * height * lams * (1 - lams) + 1 + lams  # noqa: E731
    losses = np.stack([bump(h) for h in (1.0, 3.0, 2.0, 6.0)])
    found = curves.summarize(losses, np.array([0, 0, 1, 1]))
    # Two images with barriers of 2 and 4 in the mean: the error is that of two numbers.
    expected = {"barrier": 3.0, "barrier_se": 1.0, "start": 1.0, "end": 2.0}
    expected |= {"start_se": 0.0, "middle": 4.5, "largest": bump(6.0).max()}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["auc"], 2.0, rtol=1e-3)
    below = curves.summarize(np.stack([bump(-1.0)] * 2), np.array([0, 1]))
    assert below["barrier"] == 0 and below["auc"] < 0
    even = np.array([[0.0, 1.0, 3.0, 0.0], [0.0, 2.0, 4.0, 0.0]])
    even = curves.summarize(even, np.array([0, 1]))
    assert (even["middle"], even["middle_se"]) == (2.5, 0.5)


def test_a_straight_line_has_no_barrier():
    line = np.linspace(0.1, 0.7, 40).astype(np.float32)
    found = curves.summarize(np.stack([line, line]), np.array([0, 1]))
    assert 0 <= found["barrier"] < 1e-7 and abs(found["auc"]) < 1e-7


def test_a_single_pair_has_no_error():
    found = curves.summarize(np.array([[1.0, 4.0, 2.0]]))
    assert (found["barrier"], found["barrier_se"]) == (2.5, None)
    each = curves.summarize(np.array([[1.0, 4.0, 2.0], [1.0, 2.0, 2.0]]))
    assert (each["middle"], each["middle_se"]) == (3.0, 1.0)
    mean, error = curves.mean_and_error(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1, 2] and np.isnan(error).all()
