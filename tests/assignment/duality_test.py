import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import assignment


@pytest.fixture(scope="module")
def costs():
    rng = np.random.default_rng(0)
    random = rng.normal(size=(3, 12, 12))
    rows = rng.normal(size=(2, 12, 5))
    similar = -np.abs(rows @ rows[:, rng.permutation(12)].transpose(0, 2, 1))
    ties = rng.integers(0, 4, (2, 12, 12))
    return np.concatenate([random, similar, ties]).astype(np.float32)


def total(cost, perm):
    return np.take_along_axis(cost, np.asarray(perm)[..., None], -1).sum((-2, -1))


def rounding(cost):
    return 12 * np.finfo(np.float32).eps * np.abs(cost).max((-2, -1))


@pytest.mark.parametrize("maximize", [False, True])
def test_optimal_assignments_are_proved_and_no_others(costs, maximize):
    perm = assignment.solve_lap(costs, maximize=maximize)
    gap = assignment.optimality_gap(costs, perm, maximize=maximize)
    assert (gap >= 0).all()
    assert (gap <= rounding(costs)).all()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(12)
        other = perm[:, order]
        loss = np.abs(total(costs, other) - total(costs, perm))
        gap = assignment.optimality_gap(costs, other, maximize=maximize)
        assert (loss > 0.1).all()
        assert (gap >= loss - rounding(costs)).all()


def test_one_swap_is_noticed(costs):
    best = np.array(assignment.solve_lap(costs))
    swapped = best.copy()
    swapped[:, [3, 7]] = best[:, [7, 3]]
    loss = total(costs, swapped) - total(costs, best)
    gap = assignment.optimality_gap(costs, swapped)
    assert (gap >= loss - rounding(costs)).all()
    assert (loss[:3] > 0.01).all()
    assert (gap <= 10 * loss + rounding(costs)).all()


@pytest.mark.parametrize("maximize", [False, True])
def test_potentials_are_feasible_for_all_and_tight_for_the_best(costs, maximize):
    sign = -1 if maximize else 1
    best = assignment.solve_lap(costs, maximize=maximize)
    for perm in (best, np.tile(np.arange(12), (len(costs), 1))):
        duals = assignment.dual_potentials(costs, perm, maximize=maximize)
        slack = sign * (costs - duals.rows[..., None] - duals.columns[:, None, :])
        assert (slack >= -rounding(costs)[:, None, None]).all()
        # What the potentials promise is what the gap says.
        bound = duals.rows.sum(-1) + duals.columns.sum(-1)
        gap = assignment.optimality_gap(costs, perm, maximize=maximize)
        claimed = sign * (total(costs, perm) - bound)
        np.testing.assert_allclose(claimed, gap, rtol=1e-5, atol=1e-4)
        chosen = np.take_along_axis(slack, np.asarray(perm)[..., None], -1)[..., 0]
        tight = chosen.max(-1) <= rounding(costs)
        assert tight.all() == (perm is best)


def test_double_precision_proves_more():
    cost = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]])
    worse = np.array([0, 1])
    assert assignment.optimality_gap(cost, worse) == 0
    with jax.enable_x64(True):
        gap = assignment.optimality_gap(cost, worse)
        np.testing.assert_allclose(gap, 1e-9, rtol=1e-5)
        assert assignment.optimality_gap(cost, worse[::-1]) <= 1e-15


def test_shifting_rows_and_columns_changes_no_gap(costs):
    rng = np.random.default_rng(1)
    perm = assignment.solve_lap(costs)
    shifted = costs + rng.normal(size=(7, 12, 1)) + rng.normal(size=(7, 1, 12))
    assert (assignment.optimality_gap(shifted, perm) <= 5 * rounding(shifted)).all()


def test_jit_and_vmap_give_what_eager_gives(costs):
    perm = assignment.solve_lap(costs)[:, ::-1]
    gap = assignment.optimality_gap(costs, perm)
    # Fusion rounds differently.
    np.testing.assert_allclose(
        jax.jit(jax.vmap(assignment.optimality_gap))(costs, perm), gap, rtol=1e-5
    )
    assert jax.grad(lambda c: assignment.optimality_gap(c, perm).sum())(
        jnp.asarray(costs)
    ).shape == (7, 12, 12)


def test_traced_nonsense_gives_nan_for_its_problem_only(costs):
    perm = np.array(assignment.solve_lap(costs))
    perm[1, 0] = perm[1, 1]
    perm[2] = -1
    bad = costs.copy()
    bad[4, 5, 6] = np.inf
    gap = jax.jit(assignment.optimality_gap)(bad, perm)
    np.testing.assert_array_equal(np.isnan(gap), np.isin(np.arange(7), [1, 2, 4]))
    duals = jax.jit(assignment.dual_potentials)(bad, perm)
    np.testing.assert_array_equal(np.isnan(duals.rows).all(-1), np.isnan(gap))


def test_empty_problems_have_no_gap():
    empty = np.zeros((3, 0, 0), np.float32)
    perm = assignment.solve_lap(empty)
    assert assignment.optimality_gap(empty, perm).tolist() == [0, 0, 0]
    assert assignment.dual_potentials(empty, perm).rows.shape == (3, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cost": np.ones((2, 3, 2))}, ValueError, "square"),
        ({"cost": np.ones((2, 2), complex)}, TypeError, "complex128"),
        ({"perm": np.ones((2, 3))}, TypeError, "integers.*float64"),
        ({"perm": np.arange(3)}, ValueError, r"\(2, 3\).*\(3,\)"),
        ({"perm": np.array([[0, 1, 2], [0, 0, 1]])}, ValueError, r"Problem \(1,\)"),
        ({"cost": np.full((2, 3, 3), np.nan)}, ValueError, r"Problem \(0,\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    good = {"cost": np.ones((2, 3, 3)), "perm": np.array([[0, 1, 2], [2, 1, 0]])}
    for function in (assignment.optimality_gap, assignment.dual_potentials):
        with pytest.raises(error, match=message):
            function(**{**good, **arguments})
