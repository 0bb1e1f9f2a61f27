import dataclasses

import jax
import numpy as np
import pytest

from experiments import populations
from experiments.train import _measures, autoencode
from symmerge_jax import autoencoders, networks, symmetry, testing, zoo

ARCHITECTURE = {"kind": "siren", "layer_sizes": [2, 4, 1]}
NETWORK = networks.build(ARCHITECTURE)
GRID = networks.coordinate_grid(3, 3)


@pytest.fixture(scope="module")
def inrs():
    """Five networks, and an image for each."""
    keys = jax.random.split(jax.random.key(0), 5)
    each = [testing.random_params(key, NETWORK) for key in keys]
    params = jax.tree.map(lambda *x: np.stack(x), *each)
    images = np.random.default_rng(0).uniform(size=(5, 3, 3)).astype(np.float32)
    return zoo.create(ARCHITECTURE, params, images=images, image_row=np.arange(5))


GMN = {"kind": "scale_gmn", "num_layers": 1, "scale_inputs": True}


def make(encoder):
    encoder = {"width": 4, "num_probes": 3, **encoder}
    paths = symmetry.flatten(jax.eval_shape(NETWORK.init, jax.random.key(0)))
    descriptions = ARCHITECTURE, encoder, {}, dict.fromkeys(paths, (0.0, 0.03))
    model = autoencoders.build(*descriptions)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: random.normal(size=x.shape, scale=0.5).astype(x.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    return autoencoders.Canonicalizer(*descriptions, variables)


def silence(canonicalizer, part):
    """Make one part of the latent the same for all networks."""
    params = canonicalizer.variables[part]["params"]
    last = params["Dense_1"] if part == "probe" else params["readout"]["out"]
    kernel = "kernel" if part == "probe" else "w1"
    last[kernel] = np.zeros_like(last[kernel])


def errors_of(canonicalizer, inrs):
    result = _measures.reconstruct(canonicalizer, inrs, GRID)
    return result.measures["mse"], _measures.without_parts(
        canonicalizer, inrs, GRID, result.originals
    )


@pytest.mark.slow
def test_the_error_without_a_part_is_that_of_decoding_its_mean(inrs):
    canonicalizer = make(GMN)
    mse, without = errors_of(canonicalizer, inrs)
    assert without.keys() == {"mse_without_scale_gmn", "mse_without_probes"}
    model, variables = canonicalizer.autoencoder, canonicalizer.variables
    parts = jax.jit(model.encode_parts)(variables, inrs.params)
    latents = parts["encoder"] + np.mean(parts["probe"], axis=0, keepdims=True)
    outputs, targets = (
        networks.render(NETWORK, params, GRID)
        for params in (model.decode(variables, latents), inrs.params)
    )
    expected = float(np.mean((outputs - targets) ** 2))
    assert without["mse_without_probes"] == pytest.approx(expected, rel=1e-4)
    assert abs(expected - mse) > 1e-3 * mse


@pytest.mark.parametrize(
    ("part", "idle", "busy"),
    [
        ("probe", "mse_without_probes", "mse_without_scale_gmn"),
        ("encoder", "mse_without_scale_gmn", "mse_without_probes"),
    ],
)
@pytest.mark.slow
def test_a_part_that_says_nothing_is_not_missed(inrs, part, idle, busy):
    canonicalizer = make(GMN)
    silence(canonicalizer, part)
    mse, without = errors_of(canonicalizer, inrs)
    assert without[idle] == pytest.approx(mse, rel=1e-4)
    assert abs(without[busy] - mse) > 1e-3 * mse


def test_without_its_only_part_a_latent_is_the_same_for_all(inrs):
    canonicalizer = make({"kind": "probe"})
    frozen = _measures.frozen_latents(canonicalizer, inrs.params)["probes"]
    mean = canonicalizer.encode(inrs.params).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(frozen, np.broadcast_to(mean, frozen.shape), atol=1e-5)


def test_networks_are_decoded_once_and_compared_on_and_off_the_grid(inrs, monkeypatch):
    canonicalizer, calls = make({"kind": "probe"}), []
    decoded = canonicalizer.reconstruct(inrs.params)

    def counted(self, params):
        calls.append(len(calls))
        return decoded

    monkeypatch.setattr(autoencoders.Canonicalizer, "reconstruct", counted)
    result = _measures.reconstruct(canonicalizer, inrs, GRID)
    assert len(calls) == 1
    before, after = (
        np.asarray(networks.render(NETWORK, params, GRID))
        for params in (inrs.params, decoded)
    )
    np.testing.assert_allclose(result.originals, before, atol=1e-5)
    np.testing.assert_allclose(result.decoded, after, atol=1e-5)
    measures = result.measures
    assert measures["mse"] == pytest.approx(np.mean((before - after) ** 2), rel=1e-4)
    flat = inrs.images.reshape(5, 9, 1)
    image, own = np.mean((after - flat) ** 2), np.mean((before - flat) ** 2)
    assert measures["mse_image"] == pytest.approx(image, rel=1e-4)
    assert measures["mse_image_inr"] == pytest.approx(own, rel=1e-4)
    points = np.random.default_rng(1).uniform(-1, 1, (1000, 2)).astype(np.float32)
    before, after = (
        np.asarray(networks.render(NETWORK, params, points))
        for params in (inrs.params, decoded)
    )
    # Other points, so equal up to the spread of a mean over 1,000 of them.
    expected = np.mean((before - after) ** 2)
    assert measures["mse_off_grid"] == pytest.approx(expected, rel=0.1)
    assert measures["mse_off_grid"] != pytest.approx(measures["mse"], rel=1e-3)


def test_an_image_with_several_fits_is_shown_once(inrs):
    index = np.array([0, 0, 1, 1, 2], np.int32)
    repeated = dataclasses.replace(inrs, image_index=index)
    parts = {"train": np.array([0]), "test": np.array([3, 4, 1, 2])}
    population = populations.Population(repeated, NETWORK, parts, {}, task=None)
    assert autoencode._shown(population, "test").tolist() == [0, 1, 2]
