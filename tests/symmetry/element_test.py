import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import symmetry
from symmerge_jax.symmetry import Group, Space

SIZES = {"free": 5, "signed": 6, "scaled": 4}


@pytest.fixture
def spec():
    spaces = [
        Space("in", Group.TRIVIAL),
        Space("free", Group.PERMUTATION),
        Space("signed", Group.SIGN),
        Space("scaled", Group.SCALE),
    ]
    axes = {space.name: (symmetry.Axis(space.name),) for space in spaces}
    return symmetry.SymmetrySpec.create(axes, spaces)


@pytest.fixture
def pair(key, spec):
    return [symmetry.sample(k, spec, SIZES) for k in jax.random.split(key)]


def matrices(element):
    return {k: np.asarray(symmetry.as_matrix(m)) for k, m in element.items()}


def assert_close(got, expected):
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-6, err_msg=name)


def test_matrix_follows_the_convention_of_the_project():
    monomial = symmetry.Monomial(jnp.array([2, 0, 1]), jnp.array([1.0, -1.0, 5.0]))
    x = jnp.array([10.0, 20.0, 30.0])
    expected = np.array([[0, 0, 1], [-1, 0, 0], [0, 5, 0]], np.float32)
    np.testing.assert_array_equal(symmetry.as_matrix(monomial), expected)
    np.testing.assert_array_equal(expected @ x, monomial.scale * x[monomial.perm])


def test_compose_is_the_matrix_product(pair):
    second, first = pair
    product = {k: matrices(second)[k] @ matrices(first)[k] for k in SIZES}
    assert_close(matrices(symmetry.compose(second, first)), product)


def test_compose_is_associative(key, spec, pair):
    f, (g, h) = symmetry.sample(jax.random.fold_in(key, 5), spec, SIZES), pair
    left = symmetry.compose(symmetry.compose(f, g), h)
    right = symmetry.compose(f, symmetry.compose(g, h))
    assert_close(matrices(left), matrices(right))


def test_inverse_is_the_matrix_inverse(pair):
    element, _ = pair
    neutral = {k: np.eye(n) for k, n in SIZES.items()}
    back = symmetry.inverse(element)
    assert_close(matrices(symmetry.compose(element, back)), neutral)
    assert_close(matrices(symmetry.compose(back, element)), neutral)


def test_identity_is_neutral(pair):
    element, _ = pair
    neutral = symmetry.identity(SIZES)
    for product in (
        symmetry.compose(element, neutral),
        symmetry.compose(neutral, element),
    ):
        assert_close(matrices(product), matrices(element))


def test_compose_keeps_spaces_that_only_one_element_moves(pair):
    second, first = pair
    part = {"free": second["free"]}
    product = symmetry.compose(part, {"signed": first["signed"]})
    assert set(product) == {"free", "signed"}
    np.testing.assert_array_equal(product["signed"].scale, first["signed"].scale)


def test_compose_refuses_elements_of_other_sizes():
    with pytest.raises(ValueError, match="3 and 4 neurons for space 'h'"):
        symmetry.compose(symmetry.identity({"h": 3}), symmetry.identity({"h": 4}))


def test_sample_draws_from_the_group_of_each_space(spec):
    keys = jax.random.split(jax.random.key(7), 50)
    draws = jax.jit(jax.vmap(lambda key: symmetry.sample(key, spec, SIZES)))(keys)
    assert set(draws) == set(SIZES)
    for name, size in SIZES.items():
        np.testing.assert_array_equal(
            np.sort(draws[name].perm), np.tile(np.arange(size), (50, 1))
        )
    assert (draws["free"].scale == 1).all()
    assert set(np.unique(draws["signed"].scale)) == {-1.0, 1.0}
    log_scale = np.log(draws["scaled"].scale)
    assert abs(log_scale.mean()) < 0.3 and abs(log_scale.std() - 1) < 0.2


def test_sample_options_switch_off_permutations_and_scales(key, spec):
    only_signs = symmetry.sample(key, spec, SIZES, permute=False)
    only_order = symmetry.sample(key, spec, SIZES, rescale=False)
    small = symmetry.sample(key, spec, SIZES, scale_std=1e-3)
    for name, size in SIZES.items():
        np.testing.assert_array_equal(only_signs[name].perm, np.arange(size))
        assert (only_order[name].scale == 1).all()
    assert any((m.scale != 1).any() for m in only_signs.values())
    assert abs(small["scaled"].scale - 1).max() < 1e-2


def test_sample_is_fixed_by_its_key_and_differs_between_spaces(key, spec):
    again = symmetry.sample(key, spec, SIZES)
    other = symmetry.sample(jax.random.key(1), spec, SIZES)
    first = symmetry.sample(key, spec, SIZES)
    assert_close(matrices(first), matrices(again))
    assert any((first[k].perm != other[k].perm).any() for k in SIZES)
