import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import autoencoders, networks, symmetry

GOLDEN = pathlib.Path(
    os.environ.get("SYMMERGE_GOLDEN")
    or pathlib.Path(__file__).parents[1] / "golden" / "golden.json"
)


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
    images = networks.render(network, population, grid)
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


def test_distillation_loss_is_that_of_the_public_code():
    golden = json.loads(GOLDEN.read_text())
    if (case := golden.get("knowledge_distillation_loss")) is None:
        pytest.skip(f"{GOLDEN} has no distillation loss")
    with jax.enable_x64(True):
        numbers = jnp.arange(30.0).reshape(3, 10)
        found = autoencoders.distillation_loss(
            jnp.sin(numbers), jnp.cos(numbers), temperature=case["T"]
        )
    assert float(found) == pytest.approx(case["value"], abs=1e-12)


def test_distillation_loss_is_zero_for_the_teacher_and_blind_to_an_offset():
    teacher = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    zero = autoencoders.distillation_loss(teacher + 3, teacher)
    np.testing.assert_allclose(zero, np.zeros(2), atol=1e-6)
    worse = autoencoders.distillation_loss(-teacher, teacher)
    assert worse.shape == (2,) and worse.min() > 0.1
