import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from symmerge_jax import assignment
from symmerge_jax.assignment import _host

METHODS = ["auto", "host", "device"]
SOLVERS = ["host", "device"]


def random_costs(seed=0):
    """Return `[2, 4, 8, 8]` costs; one shape for all, as each is a compilation."""
    return np.random.default_rng(seed).normal(size=(2, 4, 8, 8)).astype(np.float32)


def value(cost, perm):
    cost = np.asarray(cost, np.float64)
    return np.take_along_axis(cost, np.asarray(perm)[..., None], -1).sum((-2, -1))


def scipy_value(cost, maximize=False):
    flat = np.asarray(cost, np.float64).reshape(-1, *cost.shape[-2:])
    values = [m[optimize.linear_sum_assignment(m, maximize)].sum() for m in flat]
    return np.reshape(values, cost.shape[:-2])


def assert_optimal(cost, perm, maximize=False):
    assert perm.dtype == np.int32
    assert perm.shape == cost.shape[:-1]
    numbers = np.broadcast_to(np.arange(cost.shape[-1]), perm.shape)
    np.testing.assert_array_equal(np.sort(perm, axis=-1), numbers)
    # Sums of at most 64 float32 of size one: 1e-6 each at worst.
    expected = scipy_value(cost, maximize)
    np.testing.assert_allclose(value(cost, perm), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("method", SOLVERS)
def test_total_cost_is_that_of_scipy(method, maximize):
    costs = random_costs()
    perm = assignment.solve_lap(costs, method=method, maximize=maximize)
    assert_optimal(costs, perm, maximize)


@pytest.mark.parametrize("method", SOLVERS)
def test_permutations_are_those_of_optax(method):
    costs = random_costs(seed=1)
    rows, columns = optax.assignment.hungarian_algorithm(jnp.asarray(costs[0, 0]))
    perm = assignment.solve_lap(costs, method=method)[0, 0]
    np.testing.assert_array_equal(perm[rows], columns)


def hard_cases():
    rng = np.random.default_rng(2)
    same_rows = np.repeat(rng.normal(size=(1, 8)), 8, axis=0)
    low_rank = np.abs(rng.normal(size=(8, 2)) @ rng.normal(size=(2, 8)))
    return np.stack(
        [
            np.zeros((8, 8)),
            rng.integers(0, 3, (8, 8)),
            same_rows,
            same_rows.T,
            np.concatenate([same_rows[:3], rng.normal(size=(5, 8))]),
            low_rank,
            np.arange(64.0).reshape(8, 8) ** 2,
            np.outer(np.arange(8.0), np.arange(8.0)),
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("method", SOLVERS)
def test_ties_and_equal_neurons_do_no_harm(method, maximize):
    costs = hard_cases()
    perm = assignment.solve_lap(costs, method=method, maximize=maximize)
    assert_optimal(costs, perm, maximize)


@pytest.mark.parametrize("method", METHODS)
def test_jit_and_vmap_give_what_eager_gives(method):
    costs = random_costs()
    expected = assignment.solve_lap(costs, method=method)

    def solve(cost):
        return assignment.solve_lap(cost, method=method)

    np.testing.assert_array_equal(jax.jit(solve)(costs), expected)
    np.testing.assert_array_equal(jax.vmap(jax.vmap(solve))(costs), expected)


@pytest.mark.parametrize("method", METHODS)
def test_loops_that_differ_between_problems_give_what_eager_gives(method):
    costs = random_costs()
    expected = assignment.solve_lap(costs, method=method)

    def loop(costs, last):
        def body(state):
            step, _ = state
            return step + 1, assignment.solve_lap(costs[step], method=method)

        start = 0, jnp.zeros(8, jnp.int32)
        return jax.lax.while_loop(lambda state: state[0] <= last, body, start)[1]

    last = np.array([3, 1])
    found = jax.jit(jax.vmap(loop))(costs, last)
    np.testing.assert_array_equal(found, expected[np.arange(2), last])


def test_a_batch_is_one_callback(monkeypatch):
    calls = []
    solve = _host.solve

    def counted(cost, where, *, maximize):
        calls.append(np.shape(cost))
        return solve(cost, where, maximize=maximize)

    monkeypatch.setattr(_host, "solve", counted)
    one = lambda cost: assignment.solve_lap(cost, method="host")  # noqa: E731
    jax.block_until_ready(jax.jit(jax.vmap(jax.vmap(one)))(random_costs()))
    assert calls == [(2, 4, 8, 8)]


@pytest.mark.parametrize("method", SOLVERS)
def test_skipped_problems_get_the_identity_whatever_they_hold(method):
    costs = random_costs()
    costs[0, 1] = np.nan
    where = np.tile([True, False], (2, 2))
    eager = assignment.solve_lap(costs, where=where, method=method)
    solve = functools.partial(assignment.solve_lap, method=method)
    traced = jax.jit(jax.vmap(lambda c, w: solve(c, where=w)))(costs, where)
    np.testing.assert_array_equal(eager, traced)
    np.testing.assert_array_equal(eager[~where], np.tile(np.arange(8), (4, 1)))
    assert_optimal(costs[where], eager[where])


@pytest.mark.parametrize("method", METHODS)
def test_costs_that_are_not_finite_are_named_or_marked(method):
    costs = random_costs()
    costs[1, 0, 2, 3] = np.inf
    costs[1, 2, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"cost\[1, 0\] .* not finite"):
        assignment.solve_lap(costs, method=method)
    with pytest.raises(ValueError, match=r"cost of shape \(8, 8\) .* not finite"):
        assignment.solve_lap(-costs[1, 0], method=method)
    perm = jax.jit(lambda c: assignment.solve_lap(c, method=method))(costs)
    bad = ~np.isfinite(costs).all((-2, -1))
    np.testing.assert_array_equal(perm[bad], np.full((2, 8), -1))
    assert_optimal(costs[~bad], perm[~bad])


@pytest.mark.parametrize("method", SOLVERS)
def test_sums_of_huge_costs_do_not_overflow(method):
    costs = random_costs()
    perm = assignment.solve_lap(costs, method=method)
    huge = costs / np.abs(costs).max() * np.finfo(np.float32).max
    np.testing.assert_array_equal(assignment.solve_lap(huge, method=method), perm)


@pytest.mark.parametrize("method", SOLVERS)
def test_double_precision_is_used(method):
    cost = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-12]])
    with jax.enable_x64(True):
        perm = jax.jit(lambda c: assignment.solve_lap(c, method=method))(cost)
        assert perm.tolist() == [1, 0]


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, jnp.bfloat16, float])
def test_any_real_data_type_is_solved(dtype, method):
    cost = np.random.default_rng(3).integers(0, 4, (8, 8, 8)).astype(dtype)
    assert_optimal(cost, assignment.solve_lap(cost, method=method, maximize=True), True)


@pytest.mark.parametrize("method", METHODS)
def test_empty_and_single_problems(method):
    for shape in [(0, 0), (3, 0, 0), (0, 4, 4)]:
        perm = jax.jit(lambda c: assignment.solve_lap(c, method=method))(
            np.zeros(shape, np.float32)
        )
        assert perm.shape == shape[:-1]
        assert perm.dtype == np.int32
    one = assignment.solve_lap(np.ones((1, 1), np.float32), method=method)
    assert one.tolist() == [0]


@pytest.mark.parametrize("method", SOLVERS)
def test_the_gradient_of_the_least_cost_is_the_permutation(method):
    cost = jnp.asarray(random_costs()[0, 0])

    def least(cost):
        perm = assignment.solve_lap(cost, method=method)
        return jnp.take_along_axis(cost, perm[:, None], axis=1).sum()

    perm = assignment.solve_lap(cost, method=method)
    np.testing.assert_array_equal(jax.jit(jax.grad(least))(cost), np.eye(8)[perm])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cost": np.ones((3, 2))}, ValueError, r"square.*\(3, 2\)"),
        ({"cost": np.ones(3)}, ValueError, r"square.*\(3,\)"),
        ({"cost": np.ones((2, 2), complex)}, TypeError, "complex128"),
        ({"method": "gpu"}, ValueError, "'auto'.*'gpu'"),
        ({"where": np.ones(2, bool)}, ValueError, r"where must be \(3,\).*\(2,\)"),
        ({"where": np.ones(3)}, TypeError, "boolean.*float64"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        assignment.solve_lap(**{"cost": np.ones((3, 2, 2)), **arguments})


ONE_CORE_TWO_DEVICES = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp, numpy as np
from symmerge_jax import assignment

mesh = jax.make_mesh((2,), "d", axis_types=(jax.sharding.AxisType.Auto,))
spec = jax.sharding.PartitionSpec("d")
costs = np.random.default_rng(0).normal(size=(512, 32, 32)).astype(np.float32)
expected = assignment.solve_lap(costs)
for method in ("auto", "host", "device"):
    solve = lambda cost: assignment.solve_lap(cost, method=method)
    parts = jax.shard_map(solve, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(jax.jit(parts)(costs), expected)

def body(step, costs):
    return jnp.sin(jnp.take_along_axis(costs, solve(costs)[..., None], 2) + costs)

solve = lambda cost: assignment.solve_lap(cost, method="host")
run = jax.jit(lambda costs: jax.lax.fori_loop(0, 5, body, costs))
waiting = [run(costs + i) for i in range(4)]  # dispatched asynchronously
assert all(np.isfinite(result).all() for result in waiting)
"""


@pytest.mark.slow
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("size", [2, 17, 60])
def test_sizes_and_kinds_of_costs(size, method, maximize):
    rng = np.random.default_rng(size)
    random = rng.normal(size=(6, size, size))
    few = np.abs(rng.normal(size=(6, size, 3)) @ rng.normal(size=(6, 3, size)))
    ties = rng.integers(0, 1 + size // 4, (6, size, size))
    costs = np.concatenate([random, few, ties]).astype(np.float32)
    perm = assignment.solve_lap(costs, method=method, maximize=maximize)
    assert_optimal(costs, perm, maximize)


@pytest.mark.slow
def test_one_core_does_not_lock_and_devices_share_a_batch(two_devices):
    command = [sys.executable, "-c", ONE_CORE_TWO_DEVICES]
    result = subprocess.run(
        command, env=two_devices, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
