import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks
from symmerge_jax.zoo import _siren_gradient

CASES = [
    {"layer_sizes": (2, 32, 32, 1)},
    {"layer_sizes": (2, 7, 1)},
    {"layer_sizes": (2, 6, 5, 4, 1), "w0": 12.0, "first_w0": 20.0},
]


def make(key, arguments):
    network = networks.siren(**arguments, output_offset=0.3)
    shapes = jax.eval_shape(jax.vmap(network.init), jax.random.split(key, 3))
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: jnp.asarray(generator.normal(0, 0.04, p.shape), jnp.float32), shapes
    )
    factors = [space.frequency for space in network.spec.spaces[1:-1]]
    grid = jnp.asarray(networks.coordinate_grid(5, 6))
    targets = jnp.asarray(generator.uniform(size=(3, 30)), jnp.float32)

    def loss_fn(params, targets):
        return jnp.mean((network.apply(params, grid)[:, 0] - targets) ** 2)

    return params, (grid, targets, factors, 0.3), loss_fn


@pytest.mark.parametrize("arguments", CASES)
def test_gradient_is_that_of_autodiff(key, arguments):
    params, rest, loss_fn = make(key, arguments)
    _, _, factors, offset = rest
    loss, gradient = jax.jit(
        lambda p, x, y: _siren_gradient.loss_and_gradient(p, x, y, factors, offset)
    )(params, *rest[:2])
    want_loss, want = jax.jit(jax.vmap(jax.value_and_grad(loss_fn)))(params, rest[1])
    np.testing.assert_allclose(loss, want_loss, rtol=1e-5)
    for got, expected in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(want), strict=True
    ):
        # float32 rounding of phases up to 30 radians
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(got, expected, atol=2e-5 * scale, rtol=0)


def test_mean_squared_error_is_the_loss(key):
    params, rest, _ = make(key, CASES[0])
    loss, _ = _siren_gradient.loss_and_gradient(params, *rest)
    error = _siren_gradient.mean_squared_error(params, *rest)
    np.testing.assert_allclose(error, loss, rtol=1e-6)


def test_solved_output_layer_is_the_minimum_and_changes_nothing_else(key):
    params, rest, _ = make(key, {"layer_sizes": (2, 7, 1)})
    solved = _siren_gradient.solve_output_layer(params, *rest, ridge=1e-7)
    before = _siren_gradient.mean_squared_error(params, *rest)
    loss, gradient = _siren_gradient.loss_and_gradient(solved, *rest)
    assert (loss < before).all()
    assert jnp.abs(gradient["dense_1"]["kernel"]).max() < 1e-4
    assert jnp.abs(gradient["dense_1"]["bias"]).max() < 1e-4
    assert (solved["dense_0"]["kernel"] == params["dense_0"]["kernel"]).all()


def test_large_ridge_leaves_the_output_layer_alone(key):
    params, rest, _ = make(key, CASES[0])
    solved = _siren_gradient.solve_output_layer(params, *rest, ridge=1e9)
    np.testing.assert_allclose(
        solved["dense_2"]["kernel"], params["dense_2"]["kernel"], atol=1e-6
    )
