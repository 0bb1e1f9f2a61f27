import jax
import numpy as np
import pytest

import symmerge_jax
from experiments.compare import _cnn_crowds, _cnn_methods
from symmerge_jax import certificates, symmetry
from tests.experiments import cnns

IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)


def context_of(network):
    return _cnn_methods.Context(
        network=network,
        canonicalizer=None,
        train_inputs=IMAGES,
        test_inputs=IMAGES,
        num_random_starts=0,
        chunk_size=2,
        key=jax.random.key(0),
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("merge_many", marks=pytest.mark.slow),
        pytest.param("universe", marks=pytest.mark.slow),
        "closed_form",
    ],
)
@pytest.mark.slow
def test_the_mean_of_twins_is_each_of_them(name):
    """Negative test too: without alignment it is not."""
    network, batch = cnns.random_networks(2, activation="tanh")
    keys = jax.random.split(jax.random.key(1), 2)
    orbit = lambda key, one: symmetry.sample_orbit(key, one, network.spec, 3)  # noqa: E731
    crowds = jax.device_get(jax.vmap(orbit)(keys, batch))
    outputs = jax.vmap(network.apply, (0, None))
    wanted = outputs(batch, IMAGES)
    context = context_of(network)
    found = _cnn_crowds.bring_together(name, context, crowds)
    merged = outputs(_cnn_crowds.mean(found.aligned), IMAGES)
    np.testing.assert_allclose(merged, wanted, atol=1e-4)
    naive = outputs(_cnn_crowds.mean(crowds), IMAGES)
    assert np.abs(naive - wanted).max() > 1e-2


@pytest.mark.slow
def test_the_frame_of_a_mean_does_not_matter():
    """Aligned to a network as it is, or both balanced: the midpoint is the same."""
    network, batch = cnns.random_networks(2)
    a, b = (jax.tree.map(lambda x, i=i: x[i], batch) for i in (0, 1))
    aligned = symmerge_jax.align(a, b, network.spec).params
    in_frame_of_a = jax.tree.map(lambda x, y: (x + y) / 2, a, aligned)
    balanced = symmerge_jax.merge([a, b], network.spec).params
    proof = certificates.compare_functions(
        in_frame_of_a, balanced, network, inputs=IMAGES
    )
    assert proof.max_difference < 1e-5 * proof.output_scale
    apart = jax.tree.map(lambda x, y: np.abs(x - y).max(), in_frame_of_a, balanced)
    assert max(jax.tree.leaves(apart)) > 1e-2
