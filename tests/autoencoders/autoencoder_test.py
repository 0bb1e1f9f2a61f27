import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import autoencoders, metanets, symmetry, testing

# Float32 rounding through one message-passing step and the readout.
TOLERANCE = 5e-6


def spread_of(latents):
    latents = np.asarray(latents, np.float64)
    return np.abs(latents - latents[:1]).max() / np.abs(latents).max()


@pytest.fixture
def make(describe):
    def make(**encoder):
        model = autoencoders.build(*describe(encoder))
        random = np.random.default_rng(1)
        shapes = jax.eval_shape(model.init, jax.random.key(1))
        return model, jax.tree.map(
            lambda x: random.normal(size=x.shape, scale=0.8).astype(x.dtype), shapes
        )

    return make


def twins_of(model, key, **options):
    params = testing.random_params(key, model.network)
    return symmetry.sample_orbit(key, params, model.network.spec, 4, **options)


@pytest.mark.parametrize("num_probes", [0, 3])
@pytest.mark.slow
def test_reconstructions_of_twins_are_one_network(make, key, num_probes):
    model, variables = make(num_probes=num_probes)
    twins = twins_of(model, key)
    latents, decoded = jax.jit(
        lambda v, p: (model.encode(v, p), model.reconstruct(v, p))
    )(variables, twins)
    assert latents.shape == (4, 4)
    assert spread_of(latents) <= TOLERANCE
    for leaf in jax.tree.leaves(decoded):
        assert spread_of(leaf) <= 2 * TOLERANCE
    assert jax.tree.map(jnp.shape, decoded) == jax.tree.map(jnp.shape, twins)


@pytest.mark.slow
def test_ablating_the_symmetry_is_noticed(make, key):
    model, variables = make(ablate_symmetry=True)
    latents = jax.jit(model.encode)(variables, twins_of(model, key))
    assert spread_of(latents) > 1e-4


@pytest.mark.slow
def test_a_batch_is_its_networks_one_by_one(canonicalizer, population):
    model, variables = canonicalizer.autoencoder, canonicalizer.variables
    encode = jax.jit(model.encode)
    whole = encode(variables, population)
    one = jax.tree.map(lambda x: x[3], population)
    two_axes = jax.tree.map(lambda x: x[:6].reshape(2, 3, *x.shape[1:]), population)
    np.testing.assert_allclose(encode(variables, one), whole[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        encode(variables, two_axes).reshape(6, -1), whole[:6], rtol=1e-4, atol=1e-5
    )
    assert np.std(np.asarray(whole), axis=0).min() > 1e-4  # networks differ


@pytest.mark.slow
def test_a_key_switches_dropout_on(make, key):
    model, variables = make(dropout=0.5)
    params = testing.random_params(key, model.network)
    encode = jax.jit(model.encode)
    calm = encode(variables, params)
    one, again = encode(variables, params, key), encode(variables, params, key)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, calm)
    assert not np.allclose(one, encode(variables, params, jax.random.key(5)))


def test_probes_are_invariant_to_phases_too(describe, key):
    architecture, _, decoder, statistics = describe()
    encoder = {"kind": "probe", "width": 4, "num_probes": 6}
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    variables = jax.jit(model.init)(jax.random.key(1))
    points = np.asarray(variables["probe"]["params"]["points"])
    assert points.shape == (6, 2) and np.abs(points).max() <= 1
    assert points.min() < 0 < points.max()

    params = testing.random_params(key, model.network)
    w0 = model.network.spec.space("hidden_0").frequency
    turned = jax.tree.map(lambda x: x, params)
    turns = jnp.array([1.0, -1.0, 2.0, 0.0])
    turned["dense_0"]["bias"] = params["dense_0"]["bias"] + turns * 2 * jnp.pi / w0
    other = jax.tree.map(lambda x: 1.1 * x, params)
    encode = jax.jit(model.encode)
    latent = encode(variables, params)
    # The phases themselves are rounded: 4 pi at float32 is known to 1e-6.
    np.testing.assert_allclose(encode(variables, turned), latent, atol=2e-4)
    assert np.abs(encode(variables, other) - latent).max() > 5e-3


@pytest.mark.slow
def test_probes_of_classifiers_are_images(describe, key):
    architecture = {
        "kind": "cnn",
        "image_shape": [7, 9, 1],
        "channels": [2, 3],
        "num_classes": 2,
    }
    options = {"num_probes": 3, "input_value": 0.0}
    model = autoencoders.build(*describe(options, architecture=architecture))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert shapes["probe"]["params"]["points"].shape == (3, 7, 9, 1)
    variables = testing.random_params(key, shapes, std=0.8)
    twins = twins_of(model, key, scale_std=5.0)
    encode = jax.jit(lambda v, p: (model.encode_parts(v, p), model.reconstruct(v, p)))
    latents, decoded = encode(variables, twins)
    for part in ("encoder", "probe"):
        assert spread_of(latents[part]) <= TOLERANCE
        assert np.abs(latents[part]).max() > 0.1
    assert jax.tree.map(jnp.shape, decoded) == jax.tree.map(jnp.shape, twins)
    for leaf in jax.tree.leaves(decoded):
        assert spread_of(leaf) <= 2 * TOLERANCE


@pytest.mark.parametrize("options", [(0, (2,), 3), (2, (2,), 0)])
def test_sizes_of_a_probe_are_checked(options):
    with pytest.raises(ValueError, match="must be >= 1"):
        metanets.ProbeEncoder(*options)
