import numpy as np

from experiments.populations import real_networks, splice_sites


def test_sites_are_scored_by_as_many_positions_as_there_are():
    targets = np.array([[1, 1, 0, 2, 0]])
    probabilities = np.array(
        [
            [0.1, 0.8, 0.1],
            [0.6, 0.3, 0.1],
            [0.5, 0.4, 0.1],
            [0.2, 0.1, 0.7],
            [0.9, 0.05, 0.05],
        ]
    )
    found = splice_sites.score(np.log(probabilities)[None], targets)
    assert found["accuracy"] == (1 / 2 + 1) / 2
    right = [0.8, 0.3, 0.5, 0.7, 0.9]
    np.testing.assert_allclose(found["loss"], -np.mean(np.log(right)))
    np.testing.assert_allclose(found["accuracy_se"], (0.25 / 2 / 4) ** 0.5)


def test_classes_are_scored():
    found = real_networks.score_classes(
        np.log([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0])
    )
    assert found["accuracy"] == 0.5
    np.testing.assert_allclose(found["loss"], -np.mean(np.log([0.9, 0.4])))
