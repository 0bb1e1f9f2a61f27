import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from symmerge_jax import assignment

GRADIENTS = ["unrolled", "implicit"]


def similarities(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("num_iters", [1, 7])
def test_iterations_divide_columns_then_rows(num_iters, gradient):
    similarity = similarities(3, 5, 5)
    plan = assignment.sinkhorn(
        similarity, temperature=0.5, num_iters=num_iters, gradient=gradient
    )
    expected = np.exp(similarity.astype(np.float64) / 0.5)
    for _ in range(num_iters):
        expected /= expected.sum(-2, keepdims=True)
        expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(plan, expected, rtol=1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_limit_is_doubly_stochastic(gradient):
    run = functools.partial(assignment.sinkhorn, similarities(4, 9, 9))
    plan = run(num_iters=200, gradient=gradient)
    assert plan.dtype == jnp.float32
    assert (plan > 0).all()
    np.testing.assert_allclose(plan.sum(-1), np.ones((4, 9)), atol=1e-6)
    np.testing.assert_allclose(plan.sum(-2), np.ones((4, 9)), atol=1e-6)
    few = run(num_iters=2, gradient=gradient)
    assert np.abs(few.sum(-2) - 1).max() > 1e-3


def test_the_limit_moves_with_permutations_and_not_with_shifts():
    similarity, rng = similarities(6, 6), np.random.default_rng(1)
    run = functools.partial(assignment.sinkhorn, num_iters=100)
    plan = run(similarity)
    rows, columns = rng.permutation(6), rng.permutation(6)
    moved = run(similarity[rows][:, columns])
    np.testing.assert_allclose(moved, plan[rows][:, columns], rtol=1e-5)
    shifts = rng.normal(size=(6, 1)) + rng.normal(size=(1, 6))
    np.testing.assert_allclose(run(similarity + shifts), plan, rtol=1e-4)
    assert np.abs(run(2 * similarity) - plan).max() > 0.01


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_low_temperatures_find_the_assignment(gradient):
    similarity = similarities(5, 8, 8, seed=3)
    plan = assignment.sinkhorn(
        similarity, temperature=2e-3, num_iters=2000, gradient=gradient
    )
    perm = assignment.solve_lap(similarity, maximize=True)
    np.testing.assert_allclose(plan, np.eye(8)[perm], atol=1e-2)


def weighted(similarity, weights, **options):
    return (weights * assignment.sinkhorn(similarity, **options)).sum()


def test_gradients_agree_where_the_iteration_converged():
    with jax.enable_x64(True):
        similarity = jnp.asarray(similarities(2, 6, 6), float)
        weights = jnp.asarray(similarities(2, 6, 6, seed=1), float)
        run = functools.partial(weighted, weights=weights, temperature=0.2)
        unrolled, implicit = (
            jax.jit(jax.grad(functools.partial(run, num_iters=1500, gradient=kind)))
            for kind in GRADIENTS
        )
        np.testing.assert_allclose(
            implicit(similarity), unrolled(similarity), rtol=1e-8, atol=1e-11
        )


def test_the_implicit_gradient_is_that_of_the_limit():
    similarity, weights = similarities(6, 6), similarities(6, 6, seed=1)
    run = functools.partial(weighted, weights=weights, temperature=0.3, num_iters=2)
    unrolled, implicit = (
        jax.jit(jax.grad(functools.partial(run, gradient=kind)))(similarity)
        for kind in GRADIENTS
    )
    assert np.abs(unrolled - implicit).max() > 0.01
    # A shift of a row or a column changes nothing in the limit.
    np.testing.assert_allclose(implicit.sum(-1), np.zeros(6), atol=1e-5)
    np.testing.assert_allclose(implicit.sum(-2), np.zeros(6), atol=1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_agree_with_finite_differences(gradient):
    with jax.enable_x64(True):
        similarity = jnp.asarray(similarities(4, 4), float)
        weights = jnp.asarray(similarities(4, 4, seed=1), float)

        @jax.jit
        def loss(similarity, temperature):
            return weighted(
                similarity,
                weights,
                temperature=temperature,
                num_iters=200,
                gradient=gradient,
            )

        temperature = jnp.asarray(0.6)
        check_grads(loss, (similarity, temperature), order=1, modes=["rev"])


def test_implicit_gradients_stay_finite_at_permutations():
    similarity, weights = similarities(8, 8), similarities(8, 8, seed=1)
    run = jax.jit(jax.grad(functools.partial(weighted, gradient="implicit")))
    for temperature in (1e-2, 1e-3, 1e-5):
        grad = run(similarity, weights, temperature=temperature)
        # Rounding errors are relative to the factor 1 / temperature.
        assert np.abs(grad).max() < 10 + 1e-5 / temperature


@pytest.mark.parametrize("scale", [1e-13, 1e-17, 1e-25])
def test_implicit_gradients_stay_finite_for_small_weights(scale):
    options = {"temperature": 0.03, "gradient": "implicit"}
    run = jax.jit(jax.vmap(jax.grad(functools.partial(weighted, **options))))
    similarity, weights = similarities(64, 12, 12), similarities(64, 12, 12, seed=1)
    large, small = run(similarity, weights), run(similarity, scale * weights)
    np.testing.assert_allclose(small / scale, large, rtol=0.05, atol=0.05)


def test_tolerance_ends_the_iteration():
    similarity = similarities(3, 7, 7)
    run = functools.partial(
        assignment.sinkhorn, similarity, temperature=0.2, gradient="implicit"
    )
    plan = run(num_iters=10**9, tolerance=1e-3)
    error = np.abs(plan.sum(-2) - 1).max()
    assert 0 < error <= 1e-3
    capped = run(num_iters=3, tolerance=1e-3)
    np.testing.assert_array_equal(capped, run(num_iters=3))
    assert np.abs(capped.sum(-2) - 1).max() > 1e-3


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_batches_jit_and_vmap_give_single_results(gradient):
    similarity = similarities(2, 3, 5, 5)
    temperature = np.linspace(0.3, 1.0, 6, dtype=np.float32).reshape(2, 3)

    def run(similarity, temperature):
        return assignment.sinkhorn(
            similarity, temperature=temperature, gradient=gradient
        )

    batch = run(similarity, temperature)
    # Fusion rounds differently.
    lifted = jax.jit(jax.vmap(jax.vmap(run)))(similarity, temperature)
    np.testing.assert_allclose(lifted, batch, rtol=1e-5, atol=1e-7)
    single = run(similarity[1, 2], float(temperature[1, 2]))
    np.testing.assert_allclose(single, batch[1, 2], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_forbidden_pairs_and_large_values(gradient):
    similarity = 1e6 * similarities(5, 5)
    similarity[0, 1:] = -np.inf

    def chosen(similarity):
        options = {"temperature": 1e6, "gradient": gradient}
        plan = assignment.sinkhorn(similarity, **options)
        return plan[1, 1], plan

    grad, plan = jax.jit(jax.grad(chosen, has_aux=True))(similarity)
    assert np.isfinite(grad).all()
    assert (plan[0, 1:] == 0).all()
    assert plan[0, 0] == 1


def test_sizes_zero_and_one():
    assert assignment.sinkhorn(np.zeros((2, 0, 0), np.float32)).shape == (2, 0, 0)
    one = np.full((2, 1, 1), 3, np.float32)
    assert assignment.sinkhorn(one).tolist() == [[[1]], [[1]]]
    run = functools.partial(assignment.sinkhorn, gradient="implicit")
    grad = jax.jit(jax.grad(lambda x: run(x).sum()))(one)
    assert grad.tolist() == [[[0]], [[0]]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"similarity": np.ones((2, 3))}, ValueError, "square"),
        ({"similarity": np.ones((2, 2), complex)}, TypeError, "complex128"),
        ({"gradient": "exact"}, ValueError, "'implicit'.*'exact'"),
        ({"num_iters": 0}, ValueError, "num_iters.*0"),
        ({"temperature": 0.0}, ValueError, "temperature.*0"),
        ({"temperature": float("nan")}, ValueError, "temperature.*nan"),
        ({"temperature": np.ones(3)}, ValueError, r"temperature.*\(4,\).*\(3,\)"),
        ({"tolerance": 1e-3}, ValueError, "tolerance.*'unrolled'"),
        ({"tolerance": -1.0, "gradient": "implicit"}, ValueError, "tolerance.*-1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        assignment.sinkhorn(**{"similarity": np.ones((4, 2, 2)), **options})
