import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, assignment, symmetry
from symmerge_jax.symmetry import Group
from tests.alignment import pairs

N = 6


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape or (N, N))


def relax(similarity, group, **options):
    options = {"temperature": 0.5, "num_iters": 200, **options}
    fn = functools.partial(alignment.relax, group=group, **options)
    return pairs.compiled(fn)(jnp.asarray(similarity))


@pytest.mark.parametrize("group", [Group.PERMUTATION, Group.SCALE])
def test_permutations_are_relaxed_by_sinkhorn(group):
    matrix = draw(0)
    expected = assignment.sinkhorn(jnp.asarray(matrix), temperature=0.5, num_iters=200)
    np.testing.assert_array_equal(relax(matrix, group), expected)


def test_signs_are_the_entropic_optimum_of_both_parts():
    # Parts exp((+-C + u + v) / t), with u and v found by plain scaling.
    similarity, temperature = draw(1), 0.5
    with jax.enable_x64(True):
        found = relax(similarity, Group.SIGN, temperature=temperature)
    plus, minus = np.exp(similarity / temperature), np.exp(-similarity / temperature)
    rows = np.ones((N, 1))
    for _ in range(500):
        columns = 1 / np.sum((plus + minus) * rows, 0, keepdims=True)
        rows = 1 / np.sum((plus + minus) * columns, 1, keepdims=True)
    np.testing.assert_allclose(found, (plus - minus) * rows * columns, atol=1e-10)


def test_absolute_values_of_signed_matrices_are_dominated():
    matrix = np.abs(relax(draw(2), Group.SIGN))
    assert np.all(matrix.sum(0) < 1)
    assert np.all(matrix.sum(1) < 1)
    assert np.any(matrix > 0.1)


@pytest.mark.parametrize("options", [{}, {"permute": False}, {"rescale": False}])
@pytest.mark.parametrize("group", [Group.SIGN, Group.PERMUTATION])
def test_low_temperature_gives_the_projection(group, options):
    similarity = jnp.asarray(draw(3))
    found = relax(similarity, group, temperature=0.02, num_iters=1000, **options)
    expected = symmetry.as_matrix(alignment.project(similarity, group, **options))
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_relaxation_moves_with_both_networks():
    with jax.enable_x64(True):
        similarity = jnp.asarray(draw(4))
        generator = np.random.default_rng(5)
        left, right = (
            symmetry.as_matrix(
                symmetry.Monomial(
                    jnp.asarray(generator.permutation(N)),
                    jnp.asarray(generator.choice([-1.0, 1.0], N)),
                )
            )
            for _ in range(2)
        )
        moved = relax(left @ similarity @ right.T, Group.SIGN)
        expected = left @ relax(similarity, Group.SIGN) @ right.T
        np.testing.assert_allclose(moved, expected, atol=1e-10)
        unsigned = relax(left @ similarity @ right.T, Group.PERMUTATION)
        other = left @ relax(similarity, Group.PERMUTATION) @ right.T
        assert np.max(np.abs(unsigned - other)) > 0.1


def test_without_similarity_signs_are_open():
    zero = np.zeros((N, N))
    np.testing.assert_array_equal(relax(zero, Group.SIGN), zero)
    np.testing.assert_allclose(relax(zero, Group.PERMUTATION), zero + 1 / N, rtol=1e-6)


def test_large_similarities_do_not_overflow():
    matrix = relax(1e6 * draw(6), Group.SIGN, temperature=1e-3)
    assert np.all(np.isfinite(matrix))


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_gradient_agrees_with_finite_differences(gradient):
    weights, direction = draw(7), draw(8)
    with jax.enable_x64(True):

        def value(similarity):
            options = {"temperature": 1.0, "num_iters": 200, "gradient": gradient}
            return jnp.sum(weights * alignment.relax(similarity, Group.SIGN, **options))

        similarity, step = jnp.asarray(draw(9)), 1e-5
        found = jnp.sum(pairs.compiled(jax.grad(value))(similarity) * direction)
        value = pairs.compiled(value)
        expected = (
            value(similarity + step * direction) - value(similarity - step * direction)
        ) / (2 * step)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_trivial_group_is_refused():
    with pytest.raises(ValueError, match="trivial group"):
        relax(draw(0), Group.TRIVIAL)
