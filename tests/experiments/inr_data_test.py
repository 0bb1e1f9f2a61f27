import ml_collections
import numpy as np
import pytest

from experiments import populations
from experiments.populations import make_zoo
from experiments.train import autoencode
from symmerge_jax import learning, networks, zoo


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
    images = populations.render_all(network, inrs.params, points)
    assert images.shape == (20, 6, 1)
    one = {
        layer: {name: leaf[17] for name, leaf in leaves.items()}
        for layer, leaves in inrs.params.items()
    }
    np.testing.assert_allclose(images[17], network.apply(one, points), atol=1e-5)


def test_targets_are_what_the_networks_were_fitted_to(path):
    """Their squared error is the one that the fit reports."""
    inrs = zoo.select(zoo.load(path), np.array([7, 3, 7]))
    waves = zoo.load_images("waves", "all", num_images=2, size=30)
    signals = zoo.generate_siren_zoo(
        waves,
        architecture={"kind": "siren", "layer_sizes": [1, 4, 1]},
        options=zoo.SirenOptions(num_steps=2),
        fits_per_image=2,
    )
    for some, num_points, num_inputs in ((inrs, 64, 2), (signals, 30, 1)):
        grid, values = learning.inr_targets(some)
        assert grid.shape == (num_points, num_inputs)
        assert values.shape == (len(some), num_points, 1)
        drawn = populations.render_all(
            networks.build(some.architecture), some.params, grid
        )
        mse = np.mean((drawn - values) ** 2, axis=(1, 2))
        np.testing.assert_allclose(some.metrics["psnr"], -10 * np.log10(mse), atol=1e-3)
    np.testing.assert_array_equal(values[1::2], waves.images.reshape(2, 30, 1))


def test_networks_without_images_have_no_targets(path):
    inrs = zoo.load(path)
    bare = zoo.create(inrs.architecture, inrs.params)
    with pytest.raises(ValueError, match=r"no images.*generate_siren_zoo"):
        learning.inr_targets(bare)


def test_grids_are_finer_along_axes_that_have_an_extent():
    for size, shape in (((3, 4), (48, 2)), ((1, 4), (8, 1))):
        grid = populations.fine_grid(size, 2)
        assert grid.shape == shape
        np.testing.assert_array_equal(grid[:8, 0], np.linspace(-1, 1, 8, dtype="f4"))


def test_each_split_of_a_data_set_is_read_once(path, monkeypatch):
    inrs = zoo.load(path)
    random = np.random.default_rng(0)
    is_test, index = np.arange(len(inrs)) % 3 == 0, random.permutation(len(inrs))
    inrs = zoo.create(
        inrs.architecture,
        inrs.params,
        subsets=("train", "test"),
        subset_index=is_test,
        image_index=index,
    )
    images = random.integers(0, 256, (2, len(inrs), 4, 4), np.uint8)
    calls = []

    def load_images(source, split, folder):
        calls.append(split)
        part = images[int(split == "test")]
        return zoo.ImageSet(part, np.zeros(len(part), np.int32), source)

    monkeypatch.setattr(zoo, "load_images", load_images)
    config = ml_collections.ConfigDict({"images": {"source": "mnist", "dir": "x"}})
    found = populations.find_images(config, config, inrs, (4, 4))
    assert sorted(calls) == ["test", "train"]
    expected = images[is_test.astype(int), index] / np.float32(255)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("source", ["", "mnist/"])
def test_a_test_subset_is_held_out_as_a_whole(path, config, source):
    inrs = zoo.load(path)
    held_out = np.arange(len(inrs)) % 4 == 0
    inrs = zoo.create(
        inrs.architecture,
        inrs.params,
        subsets=(f"{source}train", f"{source}test"),
        subset_index=held_out,
    )
    parts = populations.split(
        inrs, val_fraction=config.val_fraction, test_fraction=0.1, seed=config.seed
    )
    np.testing.assert_array_equal(parts["test"], np.flatnonzero(held_out))
    together = np.sort(np.concatenate(list(parts.values())))
    np.testing.assert_array_equal(together, np.arange(len(inrs)))


def test_keys_may_say_how_a_given_zoo_was_made_and_nothing_else(path, config):
    given = config.copy_and_resolve_references()
    given.zoo = str(path)
    given.data.dir = "where the images were"
    planned = populations.inr_source(given).planned
    assert len(planned.zoo) == 20
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
        with pytest.raises(ValueError, match=rf"{key}={value!r} would"):
            populations.inr_source(changed)
