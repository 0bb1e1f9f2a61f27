import jax
import numpy as np
import pytest
from scipy import optimize

from symmerge_jax import assignment


@pytest.mark.parametrize("method", ["host", "device"])
@pytest.mark.parametrize("maximize", [False, True])
def test_solutions_equal_scipy(method, maximize):
    cost = np.random.default_rng(0).normal(size=(3, 2, 7, 7)).astype("float32")
    perm = assignment.solve_lap(cost, method=method, maximize=maximize)
    for index in np.ndindex(3, 2):
        expected = optimize.linear_sum_assignment(cost[index], maximize)[1]
        np.testing.assert_array_equal(perm[index], expected)
    traced = jax.jit(
        lambda x: assignment.solve_lap(x, method=method, maximize=maximize)
    )
    np.testing.assert_array_equal(traced(cost), perm)
    np.testing.assert_array_equal(jax.vmap(jax.vmap(traced))(cost), perm)
