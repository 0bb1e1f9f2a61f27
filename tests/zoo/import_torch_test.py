import jax
import numpy as np
import pytest

from symmerge_jax import networks, zoo


def linear(num_read, num_written, seed=0):
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(num_written, num_read)).astype(np.float32)
    return weight, generator.normal(size=num_written).astype(np.float32)


def state_dict(names, sizes):
    result = {}
    for i, name in enumerate(names):
        weight, bias = linear(sizes[i], sizes[i + 1], i)
        result |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return result


@pytest.mark.parametrize(
    "names",
    [
        ["seq.0", "seq.1", "seq.10"],
        ["0", "2", "4"],
        ["fc1", "fc2", "fc10"],
        ["module.net.0.linear", "module.net.1.linear", "module.net.2.linear"],
        ["_orig_mod.layers.0.0", "_orig_mod.layers.2.0", "_orig_mod.layers.10.0"],
    ],
)
@pytest.mark.parametrize("biases", [True, False])
def test_layers_follow_their_numbers(names, biases):
    given = state_dict(names, (2, 5, 4, 1))
    if not biases:
        given = {name: value for name, value in given.items() if "bias" not in name}
    shuffled = dict(reversed(given.items()))
    found = zoo.torch_layers(shuffled)
    assert list(found.items()) == [(f"dense_{i}", n) for i, n in enumerate(names)]
    params = zoo.params_from_sequential(shuffled)
    assert list(params) == ["dense_0", "dense_1", "dense_2"]
    for i, name in enumerate(names):
        layer = params[f"dense_{i}"]
        np.testing.assert_array_equal(layer["kernel"], given[f"{name}.weight"].T)
        if biases:
            np.testing.assert_array_equal(layer["bias"], given[f"{name}.bias"])
        else:
            assert "bias" not in layer


def torch_cnn(channels, num_read):
    generator = np.random.default_rng(0)
    weights = {
        "features.0": (channels[1], channels[0], 3, 3),
        "features.2": (channels[2], channels[1], 3, 2 + 1),
        "head0": (4, num_read),
    }
    found = {}
    for name, shape in weights.items():
        found[f"{name}.weight"] = generator.normal(size=shape)
        found[f"{name}.bias"] = generator.normal(size=shape[:1])
    return found


def torch_forward(tensors, images, stride, readout):
    """Return logits as PyTorch computes them, for images `[S, C, H, W]`."""
    x = images
    for name in ("features.0", "features.2"):
        weight = tensors[f"{name}.weight"]
        windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
        windows = windows[:, :, ::stride, ::stride]
        x = np.einsum("schwij,ocij->sohw", windows, weight)
        x = np.tanh(x + tensors[f"{name}.bias"][:, None, None])
    x = x.mean((2, 3)) if readout == "mean" else x.reshape(len(x), -1)
    return x @ tensors["head0.weight"].T + tensors["head0.bias"]


@pytest.mark.parametrize(("readout", "num_read"), [("mean", 5), ("flatten", 5 * 2 * 3)])
def test_convolutions_compute_what_they_do_in_torch(readout, num_read):
    tensors = torch_cnn((2, 3, 5), num_read)
    assert zoo.torch_layers(tensors) == {
        "conv_0": "features.0",
        "conv_1": "features.2",
        "dense": "head0",
    }
    network = networks.cnn((11, 15, 2), (3, 5), 4, "tanh", readout=readout)
    images = np.random.default_rng(1).normal(size=(3, 11, 15, 2))
    with jax.enable_x64(True):
        logits = network.apply(zoo.params_from_sequential(tensors), images)
    expected = torch_forward(tensors, images.transpose(0, 3, 1, 2), 2, readout)
    np.testing.assert_allclose(logits, expected, rtol=1e-10)


LINEAR = state_dict(["seq.0", "seq.1"], (2, 4, 1))
CNN = torch_cnn((2, 3, 5), 5)


@pytest.mark.parametrize(
    ("message", "tensors"),
    [
        ("several modules", LINEAR | {"other.0.weight": np.zeros((2, 2))}),
        (r"'norm\.gain' of shape \(2,\) is no", LINEAR | {"norm.gain": np.zeros(2)}),
        (r"'seq\.3\.weight' of shape \(4,\)", LINEAR | {"seq.3.weight": np.zeros(4)}),
        (r"'seq\.3\.bias' of shape", LINEAR | {"seq.3.bias": np.zeros(4)}),
        ("Some layers have a bias", LINEAR | {"seq.3.weight": np.zeros((2, 1))}),
        (r"is not a tensor of a chain", LINEAR | {"seq.1.weight": np.zeros((1, 4, 3))}),
        (r"a bias \(7,\), expected \[1\]", LINEAR | {"seq.1.bias": np.zeros(7)}),
        (
            "'seq.0' writes 4 neurons, .* reads 3",
            LINEAR | state_dict(["seq.1"], (3, 1)),
        ),
        ("have the same number", state_dict(["seq.1", "seq.01"], (2, 4, 1))),
        ("exactly one", CNN | {"head1.weight": np.zeros((4, 4))}),
        ("writes 5 neurons, .* reads 7", torch_cnn((2, 3, 5), 7)),
        ("is not a tensor of a chain", {"a.weight": np.zeros((0, 4))}),
    ],
)
def test_other_models_are_refused(message, tensors):
    with pytest.raises(ValueError, match=message):
        zoo.params_from_sequential(tensors)
