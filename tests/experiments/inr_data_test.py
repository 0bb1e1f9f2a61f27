import ml_collections
import numpy as np
import pytest

from symmerge_jax import networks, zoo
from symmerge_jax.experiments import _inr_data, autoencode, make_zoo


@pytest.fixture(scope="module")
def config():
    config = autoencode.default_config()
    config.data.num_images = 20
    config.architecture.hidden_sizes = (4,)
    config.fit.num_steps = 2
    return config


@pytest.fixture(scope="module")
def path(config, tmp_path_factory):
    """A zoo file made from `config`."""
    path = tmp_path_factory.mktemp("zoo") / "a.zoo"
    keys = make_zoo.default_config().keys()
    make_zoo.run(ml_collections.ConfigDict({key: config[key] for key in keys}), path)
    return path


def test_rendering_is_that_of_each_network(path):
    inrs = zoo.load(path)
    network = networks.build(inrs.architecture)
    points = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype(np.float32)
    images = _inr_data.render_all(network, inrs.params, points)
    assert images.shape == (20, 6, 1)
    one = {
        layer: {name: leaf[17] for name, leaf in leaves.items()}
        for layer, leaves in inrs.params.items()
    }
    np.testing.assert_allclose(images[17], network.apply(one, points), atol=1e-5)


def test_a_test_subset_is_held_out_as_a_whole(path, config):
    inrs = zoo.load(path)
    held_out = np.arange(len(inrs)) % 4 == 0
    inrs = zoo.create(
        inrs.architecture, inrs.params, subsets=("train", "test"), subset_index=held_out
    )
    parts = _inr_data.split(inrs, config)
    np.testing.assert_array_equal(parts["test"], np.flatnonzero(held_out))
    together = np.sort(np.concatenate(list(parts.values())))
    np.testing.assert_array_equal(together, np.arange(len(inrs)))


def test_keys_may_say_how_a_given_zoo_was_made_and_nothing_else(path, config):
    given = config.copy_and_resolve_references()
    given.zoo = str(path)
    given.data.dir = "where the images were"
    planned = _inr_data.plan(given)
    assert planned is not None and len(planned.zoo) == 20
    others = {
        "data.num_images": 21,
        "data.source": "mnist",
        "data.to_grey": True,
        "fits_per_image": 2,
        "architecture.w0": 20.0,
        "fit.num_steps": 3,
    }
    for key, value in others.items():
        changed = given.copy_and_resolve_references()
        changed.update_from_flattened_dict({key: value})
        with pytest.raises(ValueError, match=rf"beside which {key}={value!r} would"):
            _inr_data.plan(changed)
