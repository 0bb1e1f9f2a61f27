import itertools

import jax
import numpy as np
import pytest

from symmerge_jax import alignment, symmetry

Group = symmetry.Group


def gain(matrix, monomial):
    rows = np.arange(len(matrix))
    return np.sum(np.asarray(monomial.scale) * matrix[rows, monomial.perm])


def all_monomials(n, permute, signed):
    perms = itertools.permutations(range(n)) if permute else [tuple(range(n))]
    signs = list(itertools.product([1, -1], repeat=n)) if signed else [(1,) * n]
    for perm, sign in itertools.product(perms, signs):
        yield symmetry.Monomial(np.array(perm), np.array(sign))


@pytest.mark.parametrize("permute", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("group", [Group.PERMUTATION, Group.SIGN, Group.SCALE])
def test_projection_is_the_best_of_all_elements(key, group, permute, rescale):
    matrix = np.asarray(jax.random.normal(key, (4, 4)))
    found = alignment.project(matrix, group, permute=permute, rescale=rescale)
    signed = rescale and group is Group.SIGN
    best = max(gain(matrix, m) for m in all_monomials(4, permute, signed))
    np.testing.assert_allclose(gain(matrix, found), best, rtol=1e-5)


@pytest.mark.parametrize("rescale", [True, False])
def test_what_keeps_its_sign_counts_as_it_is(key, rescale):
    matrix, kept = np.asarray(jax.random.normal(key, (2, 4, 4)))
    found = alignment.project(matrix, Group.SIGN, unsigned=kept, rescale=rescale)

    def total(monomial):
        unsigned = symmetry.Monomial(monomial.perm, np.ones(4))
        return gain(matrix, monomial) + gain(kept, unsigned)

    best = max(total(m) for m in all_monomials(4, True, rescale))
    np.testing.assert_allclose(total(found), best, rtol=1e-5)
    summed = alignment.project(matrix + kept, Group.SIGN, rescale=rescale)
    assert (total(summed) < best - 0.1) == rescale


def test_the_sign_of_zero_is_positive():
    found = alignment.project(np.zeros((3, 3), np.float32), Group.SIGN)
    np.testing.assert_array_equal(found.scale, np.ones(3))


def test_what_is_of_no_interest_is_not_solved():
    matrix = np.eye(3, dtype=np.float32)[::-1]
    found = alignment.project(matrix, Group.PERMUTATION, where=False)
    np.testing.assert_array_equal(found.perm, [0, 1, 2])
    found = alignment.project(matrix, Group.PERMUTATION, where=True)
    np.testing.assert_array_equal(found.perm, [2, 1, 0])


def test_input_and_output_neurons_stay():
    with pytest.raises(ValueError, match="trivial"):
        alignment.project(np.eye(2, dtype=np.float32), Group.TRIVIAL)
