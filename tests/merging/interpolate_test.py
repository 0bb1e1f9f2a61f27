import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import merging


def draw(seed):
    generator = np.random.default_rng(seed)
    return {
        "dense": {"kernel": generator.normal(size=(3, 4)), "bias": np.zeros(4)},
        "gain": generator.normal(size=4),
    }


def single(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)


def vector(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize("method", merging.METHODS)
def test_ends_are_the_networks_bit_for_bit(method):
    a, b = single(draw(0)), single(draw(1))
    path = merging.interpolate(a, b, jnp.array([0.0, 1.0]), method=method)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], path), a)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[1], path), b)


def test_linear_path():
    a, b = single(draw(0)), single(draw(1))
    got = merging.interpolate(a, b, 0.25)
    np.testing.assert_allclose(vector(got), 0.75 * vector(a) + 0.25 * vector(b), 1e-6)


def test_spherical_path_follows_the_great_circle():
    with jax.enable_x64(True):
        a, b = draw(0), draw(1)
        u, v = vector(a), vector(b)
        norm = np.linalg.norm
        omega = np.arccos(u @ v / norm(u) / norm(v))
        for lam in (0.1, 0.5, 0.8):
            got = vector(merging.interpolate(a, b, lam, method="spherical"))
            expected = np.sin((1 - lam) * omega) * u + np.sin(lam * omega) * v
            np.testing.assert_allclose(got, expected / np.sin(omega), 1e-12)


def test_spherical_path_keeps_the_norm_and_the_linear_one_does_not():
    with jax.enable_x64(True):
        a, b = draw(0), draw(1)
        b = jax.tree.map(
            lambda x: x * (np.linalg.norm(vector(a)) / np.linalg.norm(vector(b))), b
        )
        length = np.linalg.norm(vector(a))
        round_path = merging.interpolate(a, b, 0.5, method="spherical")
        straight = merging.interpolate(a, b, 0.5)
        np.testing.assert_allclose(np.linalg.norm(vector(round_path)), length, 1e-12)
        assert np.linalg.norm(vector(straight)) < 0.95 * length


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.0])
def test_spherical_path_of_parallel_networks_is_the_linear_one(factor):
    a = single(draw(0))
    b = jax.tree.map(lambda x: np.float32(factor) * x, a)
    lam = jnp.linspace(0, 1, 5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=1e-7),
        merging.interpolate(a, b, lam, method="spherical"),
        merging.interpolate(a, b, lam),
    )


def test_spherical_path_is_smooth_at_small_angles():
    with jax.enable_x64(True):
        a, noise = draw(0), draw(1)
        b = jax.tree.map(lambda x, y: x + 1e-9 * y, a, noise)
        got = vector(merging.interpolate(a, b, 0.3, method="spherical"))
        np.testing.assert_allclose(got, vector(merging.interpolate(a, b, 0.3)), 1e-14)


def test_opposite_networks_have_no_spherical_path():
    a = single(draw(0))
    b = jax.tree.map(lambda x: np.float32(-1.7) * x, a)
    middle = merging.interpolate(a, b, 0.5, method="spherical")
    assert np.isnan(vector(middle)).all()


def test_types_are_kept_and_batches_are_lifted():
    a = {"w": jnp.ones((5, 3), jnp.bfloat16), "b": jnp.zeros((5, 2))}
    b = {"w": jnp.zeros((5, 3), jnp.bfloat16), "b": jnp.ones((5, 2))}
    path = merging.interpolate(a, b, jnp.array([0.0, 0.5, 1.0]))
    assert path["w"].dtype == jnp.bfloat16 and path["w"].shape == (3, 5, 3)
    slerp = lambda a, b: merging.interpolate(a, b, 0.5, method="spherical")  # noqa: E731
    assert jax.jit(jax.vmap(slerp))(a, b)["b"].shape == (5, 2)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"gain": np.zeros(5)}, {}, r"'gain' has shape \(5,\).* in params_b, but \(4,"),
        ({"gain": np.zeros(4, np.float16)}, {}, "'gain' has .*float16 in params_b"),
        ({"gain": np.zeros(4, int)}, {}, "'gain' of params_b is of type int64"),
        ({"more": np.zeros(4)}, {}, r"params_b has other .*unknown \['more'\]"),
        ({}, {"method": "cubic"}, "Unknown method 'cubic'"),
        ({}, {"lam": np.zeros((2, 2))}, r"lam must be a number or a vector.*\(2, 2\)"),
    ],
)
def test_what_cannot_be_interpolated_is_refused(change, options, message):
    options = {"lam": 0.5, **options}
    with pytest.raises(ValueError, match=message):
        merging.interpolate(draw(0), {**draw(1), **change}, **options)


def test_a_leaf_that_is_no_array_is_refused():
    with pytest.raises(
        TypeError, match="'gain' of params_b must be an array, got list"
    ):
        merging.interpolate(draw(0), {**draw(1), "gain": [1.0]}, 0.5)
