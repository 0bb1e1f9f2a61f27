import csv
import itertools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from symmerge_jax import graphs, networks, symmetry, testing

SMALL = {"image_shape": (9, 8, 2), "channels": (4, 5), "num_classes": 3}
FAMILY = {
    "zoo": {},
    "flatten": {"readout": "flatten"},
    "mixed": {"kernel_size": (3, 2), "stride": (1, 2), "readout": "flatten"},
    "one": {"channels": (6,), "kernel_size": 5, "stride": 1},
}


def convolve(params, x, strides, function, *, flatten):
    """The network written with the convolution of JAX."""
    for number, stride in enumerate(strides):
        layer = params[f"conv_{number}"]
        x = lax.conv_general_dilated(
            x,
            layer["kernel"],
            (stride, stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = function(x + layer["bias"][None, None, None])
    x = x.reshape(len(x), -1) if flatten else jnp.mean(x, axis=(1, 2))
    return x @ params["dense"]["kernel"] + params["dense"]["bias"][None]


@pytest.mark.parametrize("name", FAMILY)
def test_cnn_is_the_convolution_of_jax(key, name):
    options = SMALL | FAMILY[name]
    network = networks.cnn(**options, activation="tanh")
    params = testing.random_params(key, network)
    x = np.random.default_rng(0).normal(size=(7, *SMALL["image_shape"]))
    x = x.astype(np.float32)
    stride = options.get("stride", 2)
    strides = stride if isinstance(stride, tuple) else [stride] * 2
    expected = convolve(
        params,
        x,
        strides[: len(options["channels"])],
        jnp.tanh,
        flatten=options.get("readout") == "flatten",
    )
    found = jax.jit(network.apply)(params, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert network.input_shape == SMALL["image_shape"]


@pytest.mark.parametrize(
    ("name", "activation"),
    [*((name, "relu") for name in FAMILY), *(("mixed", a) for a in ("tanh", "sine"))],
)
@pytest.mark.slow
def test_twins_compute_the_same(key, name, activation):
    network = networks.cnn(**(SMALL | FAMILY[name]), activation=activation)
    params = testing.random_params(key, network)
    x = np.random.default_rng(0).normal(size=(5, *SMALL["image_shape"]))
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    twin = symmetry.act(element, params, network.spec)
    expected = network.apply(params, x.astype(np.float32))
    found = network.apply(twin, x.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    form = jax.jit(lambda p: symmetry.canonical_form(p, network.spec))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        form(params),
        form(twin),
    )


def test_features_are_the_values_behind_the_activation(key):
    network = networks.cnn(**SMALL)
    params = testing.random_params(key, network)
    x = np.random.default_rng(0).normal(size=(5, *SMALL["image_shape"]))
    features = network.features(params, x.astype(np.float32))
    assert {name: f.shape for name, f in features.items()} == {
        "hidden_0": (5, 4, 3, 4),
        "hidden_1": (5, 1, 1, 5),
    }
    logits = jnp.mean(features["hidden_1"], axis=(1, 2)) @ params["dense"]["kernel"]
    logits += params["dense"]["bias"][None]
    np.testing.assert_allclose(
        network.apply(params, x.astype(np.float32)), logits, atol=1e-5
    )


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.slow
def test_graph_has_an_edge_per_pair_of_channels(key, name):
    network = networks.cnn(**(SMALL | FAMILY[name]))
    params = testing.random_params(key, network)
    topology = graphs.topology(network.spec, params)
    channels = (SMALL | FAMILY[name])["channels"]
    sizes = [SMALL["image_shape"][2], *channels, 3]
    assert topology.num_nodes == sum(sizes)
    assert topology.num_edges == sum(a * b for a, b in itertools.pairwise(sizes))
    again = graphs.graph_to_params(graphs.params_to_graph(params, topology), topology)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_default_is_the_architecture_of_the_small_cnn_zoo(key):
    params = networks.cnn((32, 32, 1)).init(key)
    assert sum(x.size for x in jax.tree.leaves(params)) == 4970
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        pytest.skip("needs SYMMERGE_DATA_DIR with cnn_zoo/layout.csv")
    with pathlib.Path(folder, "cnn_zoo/layout.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = [x.size for name in params for x in params[name].values()]
    assert sorted(sizes) == sorted(int(row["size"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "swish"}, "Unknown activation 'swish'"),
        ({"image_shape": (4, 4, 1)}, "3 x 3 does not fit the 1 x 1 positions"),
        ({"image_shape": (28, 28)}, r"\(height, width, channels\), got \(28, 28\)"),
        ({"channels": ()}, "at least one convolution"),
        ({"stride": (2, 2)}, r"one for each of the 3 convolutions, got \(2, 2\)"),
        ({"readout": "max"}, "'mean' or 'flatten', got 'max'"),
    ],
)
def test_cnn_refuses_what_it_cannot_build(options, message):
    with pytest.raises(ValueError, match=message):
        networks.cnn(**options)
