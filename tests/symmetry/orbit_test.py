import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry


def test_orbit_options_reach_the_samples(get_case):
    case = get_case("mlp_relu")

    def orbit(**options):
        return jax.jit(
            lambda key: symmetry.sample_orbit(key, case.params, case.spec, 3, **options)
        )(jax.random.key(0))

    def norms(tree):
        return jnp.sort(jnp.abs(tree["dense_0"]["bias"]), axis=1)

    permuted = orbit(rescale=False)
    expected = jnp.sort(jnp.abs(case.params["dense_0"]["bias"]))
    np.testing.assert_array_equal(norms(permuted), jnp.tile(expected, (3, 1)))
    nearly = orbit(permute=False, scale_std=1e-4)["dense_1"]["kernel"]
    assert abs(nearly / case.params["dense_1"]["kernel"][None] - 1).max() < 1e-3


def test_distance_is_the_norm_of_the_difference():
    params_a = {"x": jnp.array([1.0, 2.0]), "y": {"z": jnp.array([[3.0]])}}
    params_b = {"x": jnp.array([1.0, 0.0]), "y": {"z": jnp.array([[1.0]])}}
    assert symmetry.distance(params_a, params_b) == np.float32(8**0.5)


def test_canonical_distance_is_zero_on_orbits_and_invariant(get_case):
    case = get_case("mlp_tanh")
    other = jax.tree.map(lambda leaf: leaf[::-1] * 1.3 + 0.01, case.params)
    twin = jax.tree.map(lambda leaf: leaf[1], case.orbit)
    assert symmetry.canonical_distance(twin, case.params, case.spec) == 0
    far = symmetry.canonical_distance(other, case.params, case.spec)
    assert far > 0.5
    assert symmetry.canonical_distance(other, twin, case.spec) == far
