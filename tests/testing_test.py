import jax
import jax.numpy as jnp
import pytest

from symmerge_jax import networks, symmetry, testing

NETWORK = networks.mlp((2, 4, 3), "tanh")


@pytest.fixture
def params(key):
    return testing.random_params(key, NETWORK)


def test_random_params_of_a_network_keep_its_kernels_and_fill_its_biases(key, params):
    kernel = NETWORK.init(jax.random.split(key)[0])["dense_0"]["kernel"]
    assert (params["dense_0"]["kernel"] == kernel).all()
    assert all(jnp.all(leaf != 0) for leaf in jax.tree.leaves(params))


def test_random_params_of_shapes_have_the_given_spread(key):
    shapes = {"a": jax.ShapeDtypeStruct((1000,), jnp.float32), "b": jnp.zeros((2, 3))}
    drawn = testing.random_params(key, shapes, std=2.0)
    assert drawn["b"].shape == (2, 3)
    assert abs(drawn["a"].std() - 2) < 0.2


def test_same_function_passes_on_a_twin_and_reports_the_deviation(key, params):
    x = jax.random.normal(key, (5, 2))
    element = symmetry.sample(key, NETWORK.spec, NETWORK.spec.sizes(params))
    twin = symmetry.act(element, params, NETWORK.spec)
    testing.assert_same_function(NETWORK.apply, params, twin, x)
    other = {**params, "dense_1": {**params["dense_1"], "bias": jnp.ones(3)}}
    with pytest.raises(AssertionError, match=r"differ as functions.*at index \(\d, \d"):
        testing.assert_same_function(NETWORK.apply, params, other, x)


def test_same_function_rejects_nan(params):
    x = jnp.full((1, 2), jnp.nan)
    with pytest.raises(AssertionError, match="inf at index"):
        testing.assert_same_function(NETWORK.apply, params, params, x)


def test_invariant_accepts_a_norm_and_rejects_a_sum(key, params):
    def norm(p):
        return {"norm": sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))}

    def total(p):
        return {"sum": sum(jnp.sum(leaf) for leaf in jax.tree.leaves(p))}

    testing.assert_invariant(key, norm, params, NETWORK.spec)
    testing.assert_invariant(key, total, params, NETWORK.spec, rescale=False)
    with pytest.raises(AssertionError, match="Not invariant, sample 0 at 'sum'"):
        testing.assert_invariant(key, total, params, NETWORK.spec)


def test_equivariant_accepts_odd_maps_and_names_the_parameter(key, params):
    def odd(p):
        return jax.tree.map(lambda leaf: leaf**3, p)

    def even(p):
        return jax.tree.map(lambda leaf: leaf**2, p)

    testing.assert_equivariant(key, odd, params, NETWORK.spec)
    testing.assert_equivariant(key, even, params, NETWORK.spec, rescale=False)
    with pytest.raises(AssertionError, match=r"Not equivariant.*at 'dense_0/bias'"):
        testing.assert_equivariant(key, even, params, NETWORK.spec)


def test_equivariant_sees_the_order_of_neurons(key, params):
    with pytest.raises(AssertionError, match="Not equivariant"):
        testing.assert_equivariant(
            key,
            lambda p: {**p, "dense_0": {**p["dense_0"], "bias": jnp.arange(4.0)}},
            params,
            NETWORK.spec,
            rescale=False,
        )


def test_invariant_reports_another_shape_or_structure(key, params):
    calls = []

    def growing(p):
        calls.append(p)
        return jnp.zeros(len(calls))

    with pytest.raises(AssertionError, match=r"shape \(2,\), expected \(1,\)"):
        testing.assert_invariant(key, growing, params, NETWORK.spec)
    calls.clear()
    with pytest.raises(AssertionError, match="result"):
        testing.assert_invariant(
            key,
            lambda p: calls.append(p) or {str(len(calls)): jnp.zeros(1)},
            params,
            NETWORK.spec,
        )
