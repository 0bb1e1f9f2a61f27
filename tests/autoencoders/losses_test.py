import jax
import numpy as np
import pytest

from symmerge_jax import autoencoders, networks, symmetry


def test_functional_loss_and_psnr_against_numpy(key):
    a, b = np.asarray(jax.random.normal(key, (2, 3, 5, 2)))
    losses = autoencoders.functional_loss(a, b)
    np.testing.assert_allclose(losses, ((a - b) ** 2).mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(autoencoders.functional_loss(a, a), np.zeros(3))
    np.testing.assert_allclose(
        autoencoders.psnr(np.float32([1.0, 0.01])), [0.0, 20.0], atol=1e-5
    )


def test_render_is_the_formula_of_a_siren(canonicalizer, population):
    network = canonicalizer.autoencoder.network
    grid = networks.coordinate_grid(2, 3)
    images = autoencoders.render(network, population, grid)
    assert images.shape == (7, 6, 1)
    one = jax.tree.map(lambda x: np.asarray(x[4], np.float64), population)
    x = grid.astype(np.float64)
    for name in ("dense_0", "dense_1"):
        x = np.sin(30 * (x @ one[name]["kernel"] + one[name]["bias"][None]))
    y = x @ one["dense_2"]["kernel"] + one["dense_2"]["bias"][None] + 0.5
    np.testing.assert_allclose(images[4], y, atol=1e-4)


def test_weight_loss_against_numpy_and_for_twins(canonicalizer, population, key):
    spec = canonicalizer.spec
    stds = jax.tree.map(lambda x: float(x.std()) + 0.1, population)
    decoded = jax.tree.map(lambda x: 0.5 * x + 0.01, population)
    keys = jax.random.split(key, 7)
    twins = jax.vmap(lambda k, p: symmetry.sample_orbit(k, p, spec, 1), in_axes=(0, 0))(
        keys, population
    )
    twins = jax.tree.map(lambda x: x[:, 0], twins)
    loss = jax.jit(lambda a, b: autoencoders.weight_loss(a, b, spec, stds))
    losses = loss(decoded, population)
    np.testing.assert_array_equal(losses, loss(decoded, twins))
    targets = jax.jit(jax.vmap(lambda p: symmetry.canonical_form(p, spec)))(population)
    squares = jax.tree.map(
        lambda a, b, s: ((np.asarray(a) - np.asarray(b)) / s).reshape(7, -1) ** 2,
        decoded, targets, stds,
    )  # fmt: skip
    expected = np.concatenate(jax.tree.leaves(squares), axis=1).mean(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(loss(targets, population), np.zeros(7))


@pytest.mark.slow
def test_weight_loss_refuses_scales_of_another_tree(canonicalizer, population):
    with pytest.raises(ValueError):
        autoencoders.weight_loss(population, population, canonicalizer.spec, {"a": 1.0})
