import numpy as np
import pytest

from symmerge_jax import learning

PARTS = {"train": np.arange(4), "val": np.arange(4, 6)}
VALUES = np.linspace(0, 1, 6, dtype=np.float32)


def test_losses_of_fractions_are_those_of_their_names():
    outputs = np.array([[0.0], [np.log(3.0)]], np.float32)
    targets = np.array([0.5, 0.25], np.float32)
    goal = learning.fractions(VALUES, PARTS)
    expected = [np.log(2), -(0.25 * np.log(0.75) + 0.75 * np.log(0.25))]
    np.testing.assert_allclose(goal.losses(outputs, targets), expected, rtol=1e-5)
    goal = learning.fractions(VALUES, PARTS, loss="mse")
    np.testing.assert_allclose(goal.losses(outputs, targets), [0.0, 0.25], atol=1e-6)
    measures = goal.measures(outputs, targets)
    assert measures["tau"] == -1.0
    assert measures["mae"] == pytest.approx(0.25)
    np.testing.assert_allclose(goal.predictions(outputs), [0.5, 0.75], rtol=1e-6)


def test_classes_are_learned_with_smoothed_labels():
    labels = np.array([0, 3, 1, 2, 0, 3])
    goal = learning.classes(labels, PARTS, label_smoothing=0.5)
    assert goal.num_outputs == 4
    even = np.zeros((1, 4), np.float32)
    np.testing.assert_allclose(goal.losses(even, np.array([2])), [np.log(4)], rtol=1e-5)
    sure = np.eye(4, dtype=np.float32)[[1]]
    smooth = 0.5 * np.eye(4)[1] + 0.125
    expected = -np.sum(smooth * (sure[0] - np.log(np.sum(np.exp(sure)))))
    found = goal.losses(sure, np.array([1]))
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    assert goal.measures(sure, np.array([1]))["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: learning.classes(np.full(6, -1), PARTS), "6 of the 6 .* no label"),
        (lambda: learning.classes(np.full(6, 3), PARTS), "have the label 3"),
        (
            lambda: learning.classes(np.arange(6), PARTS, label_smoothing=1.0),
            r"label_smoothing must lie in \[0, 1\)",
        ),
        (lambda: learning.fractions(97 * VALUES, PARTS), r"must lie in \[0, 1\]"),
        (lambda: learning.fractions(np.nan * VALUES, PARTS), r"must lie in \[0, 1\]"),
        (
            lambda: learning.fractions(np.full(6, 0.5), PARTS, name="accuracy"),
            "part 'train' have the same accuracy",
        ),
    ],
)
def test_goals_that_teach_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss is 'l1', known are"):
        learning.fractions(VALUES, PARTS, loss="l1")


def test_ranks_that_are_constant_have_no_correlation():
    assert learning.kendall_tau(np.zeros(4), np.arange(4)) == 0.0
    assert learning.kendall_tau(np.arange(4), np.arange(4) ** 3) == pytest.approx(1)
