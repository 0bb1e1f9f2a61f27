import gzip
import re
import zipfile

import jax
import numpy as np
import pytest

from symmerge_jax import networks, symmetry, testing


def in_numpy(params, x, factors, offset):
    for i, factor in enumerate([*factors, None]):
        layer = params[f"dense_{i}"]
        x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        x = np.sin(factor * x) if factor else x + offset
    return x


@pytest.mark.parametrize(
    ("options", "factors", "offset"),
    [
        ({}, (30.0, 30.0), 0.5),
        ({"w0": 7.0, "first_w0": 20.0, "output_offset": 0.0}, (20.0, 7.0), 0.0),
    ],
)
def test_siren_is_the_formula(key, options, factors, offset):
    network = networks.siren((2, 8, 6, 3), **options)
    params = testing.random_params(key, network)
    x = np.float32(np.random.default_rng(0).uniform(-1, 1, (20, 2)))
    expected = in_numpy(params, x, factors, offset)
    # float32, amplified by two layers of w0 = 30
    np.testing.assert_allclose(network.apply(params, x), expected, atol=2e-5)
    assert [space.frequency for space in network.spec.spaces[1:-1]] == [*factors]


def test_siren_layout_and_activations(key):
    network = networks.siren((2, 5, 4, 1))
    shapes = jax.tree.map(np.shape, network.init(key))
    assert shapes == {
        "dense_0": {"kernel": (2, 5), "bias": (5,)},
        "dense_1": {"kernel": (5, 4), "bias": (4,)},
        "dense_2": {"kernel": (4, 1), "bias": (1,)},
    }
    assert network.activations == {"hidden_0": "sine", "hidden_1": "sine"}
    names = [space.name for space in network.spec.spaces]
    assert names == ["in", "hidden_0", "hidden_1", "out"]
    groups = [space.group for space in network.spec.spaces]
    trivial, sign = symmetry.Group.TRIVIAL, symmetry.Group.SIGN
    assert groups == [trivial, sign, sign, trivial]


@pytest.mark.parametrize("w0", [30.0, 10.0])
@pytest.mark.slow
def test_siren_init_fills_its_range_and_zeroes_biases(key, w0):
    params = networks.siren((2, 200, 200, 1), w0).init(key)
    for layer, fan_in in zip(params.values(), (2, 200, 200), strict=True):
        bound = (6 / fan_in) ** 0.5 / w0
        largest = np.abs(layer["kernel"]).max()
        assert 0.95 * bound < largest <= bound
        assert abs(layer["kernel"].mean()) < 0.1 * bound
        assert not layer["bias"].any()


def test_layers_and_keys_give_different_weights(key):
    network = networks.siren((4, 4, 4))
    params, other = network.init(key), network.init(jax.random.key(1))
    assert (params["dense_0"]["kernel"] != params["dense_1"]["kernel"]).all()
    assert (params["dense_0"]["kernel"] != other["dense_0"]["kernel"]).all()


def test_coordinate_grid_runs_along_rows():
    grid = networks.coordinate_grid(3, 5)
    assert grid.shape == (15, 2) and grid.dtype == np.float32
    columns, rows = np.linspace(-1, 1, 5), np.linspace(-1, 1, 3)
    for pixel, (x, y) in enumerate(grid):
        row, column = divmod(pixel, 5)
        np.testing.assert_allclose((x, y), (columns[column], rows[row]), atol=1e-7)


def test_a_signal_is_an_image_of_one_row_and_has_one_coordinate():
    grid = networks.coordinate_grid(1, 5)
    assert grid.dtype == np.float32
    np.testing.assert_array_equal(grid, [[-1], [-0.5], [0], [0.5], [1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_sizes": (2,)}, r"at least input and output, each >= 1, got \[2\]"),
        ({"layer_sizes": (2, 0, 1)}, r"got \[2, 0, 1\]"),
        ({"layer_sizes": (2, 1), "w0": 0.0}, "w0 must be > 0, got 0"),
        ({"w0": -3.0}, "w0 must be > 0, got -3"),
        ({"first_w0": 0.0}, "first_w0 must be > 0, got 0"),
    ],
)
def test_siren_refuses_what_is_no_siren(arguments, message):
    with pytest.raises(ValueError, match=message):
        networks.siren(**arguments)


def test_real_inr_renders_its_mnist_image(data_dir):
    """Data of Navon et al. 2023 (MNIST-INRs): MNIST test image 3665."""
    [folder] = (data_dir / "mnist_inrs").glob("mnist_png_testing_6_3665_augmented_0")
    shapes = [(32, 2), (32,), (32, 32), (32,), (1, 32), (1,)]
    with zipfile.ZipFile(folder / "checkpoints" / "model_final.pth") as file:
        names = [name for name in file.namelist() if re.search(r"/data/\d+$", name)]
        names.sort(key=lambda name: int(name.rsplit("/", 1)[1]))
        arrays = [
            np.frombuffer(file.read(name), "<f4").reshape(shape)
            for name, shape in zip(names, shapes, strict=True)
        ]
    params = {
        f"dense_{i}": {"kernel": arrays[2 * i].T, "bias": arrays[2 * i + 1]}
        for i in range(3)
    }
    with gzip.open(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        file.seek(16 + 784 * 3665)
        target = np.frombuffer(file.read(784), np.uint8).reshape(28, 28) / 255
    network = networks.siren()
    image = network.apply(params, networks.coordinate_grid(28, 28)).reshape(28, 28)
    assert np.mean((image - target) ** 2) == pytest.approx(0.0037, abs=1e-4)
    assert np.mean((image.T - target) ** 2) == pytest.approx(0.18, abs=0.01)
