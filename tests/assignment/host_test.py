import numpy as np
import pytest
from scipy import optimize

from symmerge_jax.assignment import _host


@pytest.fixture
def solved_by_scipy(monkeypatch):
    solved = []
    solver = optimize.linear_sum_assignment

    def counted(cost):
        solved.append(cost)
        return solver(cost)

    monkeypatch.setattr(optimize, "linear_sum_assignment", counted)
    return solved


def solve(cost, where=None, maximize=False):
    where = np.ones(cost.shape[:-2], bool) if where is None else where
    return _host.solve(cost, where, maximize=maximize)


def planted(noise, num_features=64):
    """Similarities of 20 layers of 32 neurons with their noisy permuted copies."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 32, num_features))
    perm = rng.permuted(np.tile(np.arange(32), (20, 1)), axis=1)
    b = np.take_along_axis(a, np.argsort(perm, axis=1)[..., None], axis=1)
    b += noise * rng.normal(size=b.shape)
    return (a @ b.transpose(0, 2, 1)).astype(np.float32), perm


def test_copies_are_matched_without_a_solver(solved_by_scipy):
    similarity, perm = planted(noise=0.1)
    np.testing.assert_array_equal(solve(similarity, maximize=True), perm)
    assert not solved_by_scipy


def test_potentials_do_what_largest_entries_do_not(solved_by_scipy):
    # Norms of few features differ: the longest neurons are the best of many rows.
    similarity, perm = planted(noise=0.0, num_features=12)
    largest = np.sort(similarity.argmax(-1), axis=-1)
    assert (largest == np.arange(32)).all(-1).mean() < 0.5
    np.testing.assert_array_equal(solve(similarity, maximize=True), perm)
    assert not solved_by_scipy


def test_random_problems_need_the_solver_and_skipped_ones_do_not(solved_by_scipy):
    cost = np.random.default_rng(0).normal(size=(6, 9, 9))
    solve(cost, where=np.arange(6) < 2)
    assert len(solved_by_scipy) == 2


@pytest.mark.parametrize("num_cores", [1, 3])
def test_chunks_and_threads_do_not_change_anything(monkeypatch, num_cores):
    cost = np.random.default_rng(0).normal(size=(7, 5, 5)).astype(np.float32)
    cost[4] *= 1e38  # sums overflow, without a warning
    cost[5, 1, 2] = np.inf
    whole = solve(cost)
    assert (whole[5] == -1).all() and (np.delete(whole, 5, axis=0) >= 0).all()
    monkeypatch.setattr(_host, "_num_cores", lambda: num_cores)
    for chunk in (50, 1):
        monkeypatch.setattr(_host, "CHUNK", chunk)
        np.testing.assert_array_equal(solve(cost), whole)


def test_nearly_equal_costs_are_told_apart_exactly():
    # One bit of float32 decides, next to entries that are a million times larger.
    cost = np.full((3, 3), 1e6, np.float32)
    cost[:2, :2] = [[1, 1], [1, np.nextafter(np.float32(1), np.float32(2))]]
    assert solve(cost[None]).tolist() == [[1, 0, 2]]
    assert solve(cost[None, ::-1]).tolist() == [[2, 0, 1]]
