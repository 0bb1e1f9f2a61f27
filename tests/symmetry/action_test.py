import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Monomial, Space


def test_act_keeps_the_function(case):
    with jax.enable_x64(True):
        orbit = case.make_orbit(jax.tree.map(np.float64, case.params))
    got = case.outputs(orbit)
    # Rounding of float64, amplified by w0 = 30 and by log-normal scales.
    np.testing.assert_allclose(got, np.tile(got[:1], (len(got), 1, 1)), atol=1e-12)
    kernels = jax.tree.leaves(orbit)[1]
    assert (kernels[1:] != kernels[:1]).any(axis=tuple(range(1, kernels.ndim))).all()


@pytest.mark.parametrize("name", ["mlp_relu", "mlp_tanh", "mlp_gelu", "residual"])
def test_act_is_a_group_action(get_case, name, max_deviation):
    case = get_case(name)
    g, h = (
        symmetry.sample(jax.random.key(i), case.spec, case.sizes, scale_std=0.5)
        for i in range(2)
    )
    neutral = symmetry.identity({name: case.sizes[name] for name in g})

    def act(element, params):
        return symmetry.act(element, params, case.spec)

    params = case.params
    assert max_deviation(act(neutral, params), params) == 0
    once = act(h, params)
    twice = act(symmetry.compose(g, h), params)
    back = act(symmetry.inverse(h), once)
    tolerance = 0 if case.exact else 1e-6
    assert max_deviation(twice, act(g, once)) <= tolerance
    assert max_deviation(back, params) <= tolerance


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_act_multiplies_by_the_matrices_of_the_element(activation, key):
    network = networks.mlp((2, 3, 4, 2), activation)
    params = network.init(key)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    first, second = (
        np.asarray(symmetry.as_matrix(element[f"hidden_{i}"])) for i in range(2)
    )
    got = symmetry.act(element, params, network.spec)
    kernel = np.linalg.inv(first).T @ params["dense_1"]["kernel"] @ second.T
    np.testing.assert_allclose(got["dense_1"]["kernel"], kernel, rtol=1e-5)
    bias = second @ params["dense_1"]["bias"]
    np.testing.assert_allclose(got["dense_1"]["bias"], bias, rtol=1e-5)


def test_act_under_vmap_and_jit_is_act_one_by_one(get_case, max_deviation):
    case = get_case("mlp_relu")
    keys = jax.random.split(jax.random.key(5), 3)

    def sample(key):
        return symmetry.sample(key, case.spec, case.sizes)

    elements = jax.jit(jax.vmap(sample))(keys)

    def act(element):
        return symmetry.act(element, case.params, case.spec)

    batch = jax.jit(jax.vmap(act))(elements)
    for i in range(3):
        one = act(jax.tree.map(lambda leaf: leaf[i], elements))  # noqa: B023
        assert max_deviation(one, jax.tree.map(lambda leaf: leaf[i], batch)) == 0  # noqa: B023


def test_power_zero_is_permuted_and_not_scaled():
    spec = symmetry.SymmetrySpec.create(
        {"kernel": (Axis("h", 1),), "mean": (Axis("h", 0),)}, [Space("h", Group.SCALE)]
    )
    element = {"h": Monomial(jnp.array([1, 2, 0]), jnp.array([2.0, 3.0, 4.0]))}
    moved = symmetry.act(
        element, {"kernel": jnp.arange(3.0), "mean": jnp.arange(3.0)}, spec
    )
    np.testing.assert_array_equal(moved["kernel"], [2.0, 6.0, 0.0])
    np.testing.assert_array_equal(moved["mean"], [1.0, 2.0, 0.0])


def test_repeat_moves_all_entries_of_a_channel_of_a_flattened_array():
    spec = symmetry.SymmetrySpec.create(
        {"bias": (Axis("c"),), "kernel": (Axis("c", -1, repeat=6), None)},
        [Space("c", Group.SIGN)],
    )
    image = np.arange(18.0).reshape(2, 3, 3)  # height, width, channel
    element = {"c": Monomial(jnp.array([2, 0, 1]), jnp.array([1.0, -1.0, 1.0]))}
    params = {"bias": jnp.zeros(3), "kernel": image.reshape(18, 1)}
    moved = symmetry.act(element, params, spec)["kernel"]
    expected = image[:, :, [2, 0, 1]] * np.array([1.0, -1.0, 1.0])
    np.testing.assert_array_equal(moved, expected.reshape(18, 1))


def test_act_keeps_the_data_type(get_case):
    case = get_case("mlp_relu")
    element = symmetry.sample(jax.random.key(0), case.spec, case.sizes)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), case.params)
    moved = symmetry.act(element, params, case.spec)
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("space", "size", "message"),
    [
        ("in", 3, "Space 'in' has the trivial group"),
        ("nowhere", 3, r"Unknown space 'nowhere'; the spaces are \['in'"),
        ("hidden_0", 4, r"perm \(4,\) and scale \(4,\) for space 'hidden_0'.* 6 neu"),
    ],
)
def test_act_refuses_elements_that_do_not_fit(get_case, space, size, message):
    case = get_case("mlp_relu")
    with pytest.raises(ValueError, match=message):
        symmetry.act(symmetry.identity({space: size}), case.params, case.spec)


def test_act_refuses_batches_of_elements(get_case):
    case = get_case("mlp_relu")
    batch = {"hidden_0": Monomial(jnp.zeros((2, 6), int), jnp.ones((2, 6)))}
    with pytest.raises(ValueError, match=r"lift batches with jax\.vmap"):
        symmetry.act(batch, case.params, case.spec)


def test_dense_matrices_of_an_element_act_like_it(case, key):
    if not case.exact:
        pytest.skip("positive scales are not orthogonal")
    element = symmetry.sample(key, case.spec, case.sizes)
    matrices = {name: symmetry.as_matrix(m) for name, m in element.items()}
    expected = symmetry.act(element, case.params, case.spec)
    dense = symmetry.act_dense(matrices, case.params, case.spec)
    chex.assert_trees_all_close(expected, dense, rtol=1e-6, atol=1e-6)


def test_dense_matrices_permute_repeated_and_unscaled_axes(get_case, key):
    case = get_case("conv")
    element = symmetry.sample(key, case.spec, case.sizes, rescale=False)
    matrices = {name: symmetry.as_matrix(m) for name, m in element.items()}
    expected = symmetry.act(element, case.params, case.spec)
    dense = symmetry.act_dense(matrices, case.params, case.spec)
    chex.assert_trees_all_close(expected, dense, rtol=1e-6, atol=1e-6)


def test_dense_matrices_have_the_size_of_their_space(get_case):
    case = get_case("mlp_tanh")
    with pytest.raises(ValueError, match=r"\(3, 3\) for space 'hidden_0'.*6 neurons"):
        symmetry.act_dense({"hidden_0": np.eye(3)}, case.params, case.spec)
    with pytest.raises(ValueError, match="'out' has the trivial group"):
        symmetry.act_dense({"out": np.eye(2)}, case.params, case.spec)
