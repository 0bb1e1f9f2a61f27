import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from symmerge_jax import merging, networks, symmetry, trace


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for size in (6, 5):
            x = nn.Conv(size, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.0)(x))
        return nn.Dense(3)(x.mean((1, 2)))


def on_stripes(key):
    """Return a network whose statistics are those of striped images."""
    module = Small()
    phase = jax.random.uniform(key, (64, 1, 1, 1)) * 6
    rows = jnp.arange(8.0).reshape(1, 8, 1, 1)
    stripes = (2 + 0.5 * jnp.sin(phase + rows)).repeat(8, axis=2)
    variables = module.init(key, stripes)
    _, new = module.apply(variables, stripes, train=True, mutable=["batch_stats"])
    return module, {**variables, **new}


@pytest.fixture(scope="module")
def normed():
    module, params = on_stripes(jax.random.key(0))
    network = trace(module.apply, params, np.ones((2, 8, 8, 1)))
    return network, jax.tree.map(lambda x: jnp.stack([x, x]), params)


def change_of_statistics(network, parents, inputs):
    """Return how far re-estimated statistics are from those that are stored."""
    params = symmetry.rows(parents, 0)
    found = merging.repair(params, parents, network, ["statistics"], inputs=inputs)
    pairs = zip(*map(jax.tree.leaves, (params, found.params)), strict=True)
    return max(float(jnp.abs(b - a).max() / jnp.abs(a).max()) for a, b in pairs)


def test_inputs_bring_back_the_statistics(normed):
    network, parents = normed
    start = jax.random.normal(jax.random.key(1), (40, 8, 8, 1))
    found = merging.synthesize(parents, network, 40, start=start)
    assert found.shape == start.shape
    before, after = (change_of_statistics(network, parents, x) for x in (start, found))
    assert after < 0.2 < 0.5 < before


def test_without_statistics_inputs_are_what_neurons_look_for(key):
    network = networks.mlp((7, 3, 2), "tanh")
    parents = jax.vmap(network.init)(jax.random.split(key))
    found = merging.synthesize(parents, network, 20)
    for row, part in enumerate(np.split(np.asarray(found), 2)):
        kernel = np.asarray(parents["dense_0"]["kernel"][row])
        _, residual, *_ = np.linalg.lstsq(kernel, part.T)
        assert residual.max() < 1e-6 < np.linalg.norm(part, axis=1).min()


def test_smooth_noise_has_the_correlations_of_a_blur(key):
    shape, blur = (50, 32, 32, 2), 3.0
    noise = merging.smooth_noise(shape, blur=blur, low=0.0, high=4.0, key=key)
    assert noise.shape == shape and noise.dtype == np.float32
    assert noise.min() == 0 and noise.max() == 4
    for bound in (0, 4):
        np.testing.assert_allclose(np.mean(noise == bound), 0.159, atol=0.02)
    free = merging.smooth_noise(shape, blur=blur, low=-1e6, high=1e6, key=key)
    axes_and_steps = [(1, 1), (1, 4), (2, 4), (1, 16)]
    found = [
        np.corrcoef(free.ravel(), np.roll(free, step, axis).ravel())[0, 1]
        for axis, step in axes_and_steps
    ]
    # Clipping at one standard deviation leaves nearly the correlations of the blur.
    wanted = [np.exp(-(step**2) / (4 * blur**2)) for _, step in axes_and_steps]
    np.testing.assert_allclose(found, wanted, atol=0.06)
    channels = np.corrcoef(free[..., 0].ravel(), free[..., 1].ravel())[0, 1]
    assert abs(channels) < 0.1
    narrower = merging.smooth_noise((2, 28, 7, 1), key=key)
    same = merging.smooth_noise((2, 28, 7, 1), blur=2.0, key=key)
    np.testing.assert_array_equal(narrower, same)


def test_keys_count(key):
    network = networks.mlp((4, 3, 1))
    parents = jax.vmap(network.init)(jax.random.split(key))
    one, same, other = (
        merging.synthesize(parents, network, 8, key=jax.random.key(k))
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_bad_calls_are_refused(normed, key):
    network = networks.mlp((4, 3, 1))
    parents = jax.vmap(network.init)(jax.random.split(key))
    with pytest.raises(ValueError, match="num_samples must be at least 4"):
        merging.synthesize(parents, network, 3)
    with pytest.raises(ValueError, match=r"num_samples = 8 inputs, got .*7, 4"):
        merging.synthesize(parents, network, 8, start=np.ones((7, 4)))
    with pytest.raises(TypeError, match="some are int"):
        merging.synthesize(parents, network, 8, start=np.ones((8, 4), int))
    with pytest.raises(ValueError, match=r"\[S, \*space, C\], .* got \(8, 4\)"):
        merging.smooth_noise((8, 4))
    with pytest.raises(ValueError, match=r"low < high, got 2\.0, 1\.0 and 1\.0"):
        merging.smooth_noise((8, 28, 28, 1), low=1.0)
