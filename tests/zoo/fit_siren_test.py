import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, zoo
from symmerge_jax.zoo import _fit_siren

SMALL = {"kind": "siren", "layer_sizes": [2, 16, 1]}


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(zoo.load_images("digits", "all", num_images=4).images)


@functools.cache
def program(**options):
    options = zoo.SirenOptions(stride=1, **{"output_ridge": None, **options})
    return jax.jit(
        lambda i, x: _fit_siren.fit_sirens(jax.random.key(0), i, x, SMALL, options)
    )


def fit(images, **options):
    return program(**options)(jnp.arange(len(images)), images)


def test_psnr_is_that_of_the_rendered_network(images):
    params, metrics = fit(images, num_steps=40)
    network = networks.build(SMALL)
    grid = networks.coordinate_grid(8, 8)
    rendered = jax.jit(jax.vmap(lambda p: network.apply(p, grid)))(params)
    mse = np.mean((np.asarray(rendered).reshape(4, 8, 8) - images) ** 2, axis=(1, 2))
    np.testing.assert_allclose(metrics["psnr"], -10 * np.log10(mse), atol=1e-3)
    assert (metrics["psnr"] > 9).all()
    assert (metrics["num_steps"] == 40).all()


def test_network_depends_on_its_index_and_image_alone(images):
    together, _ = fit(images, num_steps=40)
    turned, _ = program(num_steps=40)(jnp.array([3, 2, 1, 0]), images[::-1])
    for one, other in zip(
        jax.tree.leaves(together), jax.tree.leaves(turned), strict=True
    ):
        np.testing.assert_array_equal(one, other[::-1])


def test_networks_stop_at_the_target(images):
    _, metrics = fit(images, num_steps=42, target_psnr=11.0, check_every=10)
    reached = metrics["num_steps"] < 42
    assert reached.any()
    assert (metrics["num_steps"][reached] % 10 == 0).all()
    assert (metrics["psnr"][reached] >= 11.0).all()


def test_networks_that_miss_the_target_take_all_steps(images):
    _, metrics = fit(images, num_steps=12, target_psnr=90.0, check_every=5)
    assert (metrics["num_steps"] == 12).all()


def test_output_ridge_improves_the_fit(images):
    _, plain = fit(images, num_steps=40)
    _, solved = fit(images, num_steps=40, output_ridge=1e-4)
    assert (solved["psnr"] > plain["psnr"]).all()


def test_schedule_warms_up_and_decays():
    options = zoo.SirenOptions(num_steps=100, warmup=0.1, decay=0.2)
    rates = _fit_siren._schedule(jnp.arange(101), options)
    np.testing.assert_allclose(rates[:3], [0.1, 0.2, 0.3], rtol=1e-2)
    assert rates.max() < 1 and rates.argmax() == 9
    np.testing.assert_allclose(rates[100], 0.2, rtol=1e-5)
    constant = _fit_siren._schedule(
        jnp.arange(9), zoo.SirenOptions(num_steps=9, warmup=0.0, decay=1.0)
    )
    np.testing.assert_array_equal(constant, np.ones(9))


def test_learning_rates_of_sine_layers_are_in_radians():
    slow = _fit_siren._learning_rates([30.0, 30.0], 1.0)
    fast = _fit_siren._learning_rates([15.0, 15.0], 0.5)
    assert slow["dense_1"]["kernel"] == fast["dense_1"]["kernel"]
    assert slow["dense_2"]["kernel"] == 2 * fast["dense_2"]["kernel"]


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 9])
def test_sub_grid_has_one_row_and_column_of_each_block(key, stride):
    pixels = np.asarray(_fit_siren._sub_grid(key, 7, 8, stride))
    rows, columns = np.unique(pixels // 8), np.unique(pixels % 8)
    assert len(rows) == -(-7 // stride) and len(columns) == -(-8 // stride)
    assert len(pixels) == len(rows) * len(columns)
    assert pixels.min() >= 0 and pixels.max() < 56
    if stride == 1:
        np.testing.assert_array_equal(pixels, np.arange(56))


def test_every_pixel_is_seen(key):
    draws = [
        np.asarray(_fit_siren._sub_grid(k, 7, 7, 2)) for k in jax.random.split(key, 60)
    ]
    assert len(np.unique(np.concatenate(draws))) == 49


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_steps", 0),
        ("stride", 0),
        ("check_every", 0),
        ("group_size", 0),
        ("learning_rate", 0.0),
        ("output_ridge", -1.0),
        ("warmup", 2.0),
        ("decay", -0.1),
    ],
)
def test_impossible_options_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        zoo.SirenOptions(**{name: value})
