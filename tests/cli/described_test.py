"""Weight files of all kinds: read as they are, and described by who hands them in."""

import jax
import numpy as np
import pytest
import safetensors.numpy

import symmerge_jax
from symmerge_jax import networks, symmetry, testing
from symmerge_jax.cli import (
    _canonicalize as canonicalize,
    _described as _weight_file,
    _merge as merge,
)
from tests.zoo import checkpoints

MLP = {"kind": "mlp", "layer_sizes": [4, 6, 5, 3], "activation": "tanh"}
CNN = {
    "kind": "cnn",
    "image_shape": [9, 9, 2],
    "channels": [3, 5],
    "num_classes": 4,
    "activation": "relu",
    "stride": 2,
    "readout": "flatten",
}
NAMES = {
    "mlp": {"dense_0": "fc1", "dense_1": "fc2", "dense_2": "fc10"},
    "cnn": {"conv_0": "net.conv1", "conv_1": "net.conv2", "dense": "net.head"},
}


def torch_tensors(params, names, prefix=""):
    """Return the tensors under the names and in the layout of torch."""
    tensors = {}
    for layer, name in names.items():
        kernel = np.asarray(params[layer]["kernel"])
        if layer == "dense":  # reads channel by channel
            num_channels = len(params["conv_1"]["bias"])
            kernel = kernel.reshape(-1, num_channels, kernel.shape[-1])
            kernel = kernel.swapaxes(0, 1).reshape(-1, kernel.shape[-1])
        axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        weight = np.ascontiguousarray(kernel.transpose(axes))
        tensors[f"{prefix}{name}.weight"] = weight
        tensors[f"{prefix}{name}.bias"] = np.asarray(params[layer]["bias"])
    return tensors


def write_torch(path, tensors, key=None):
    stored = {
        name: checkpoints.Tensor(str(i), array)
        for i, (name, array) in enumerate(tensors.items())
    }
    content = None
    if key is not None:
        content = checkpoints.nested(epoch=3, **{key: stored})
    checkpoints.write(path, stored, content)


FORMATS = {
    "npz": lambda path, tensors: np.savez(path, **tensors),
    "safetensors": lambda path, tensors: safetensors.numpy.save_file(tensors, path),
    "torch": write_torch,
    "checkpoint": lambda path, tensors: write_torch(path, tensors, "state_dict"),
}


@pytest.fixture(params=[MLP, CNN], ids=lambda description: description["kind"])
def network(request):
    network = networks.build(request.param)
    params = testing.random_params(jax.random.key(0), network)
    return request.param, jax.tree.map(np.asarray, params)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("npz", ".npz"),
        ("safetensors", ".safetensors"),
        *(("torch", suffix) for suffix in (".pth", ".pt", ".bin", ".npz", "")),
        ("checkpoint", ".ckpt"),
    ],
)
def test_torch_layers_are_read_from_every_format(
    tmp_path, network, prefix, kind, suffix
):
    description, params = network
    path = tmp_path / f"a{suffix}"
    names = NAMES[description["kind"]]
    FORMATS[kind](path, torch_tensors(params, names, prefix))
    file = _weight_file.read(path)
    assert symmetry.flatten(file.params).keys() == symmetry.flatten(params).keys()
    jax.tree.map(np.testing.assert_array_equal, dict(file.params), params)
    first, torch_name = next(iter(names.items()))
    where = " of 'state_dict'" if kind == "checkpoint" else ""
    assert file.read_as.startswith(
        f"torch layers{where}: {prefix}{torch_name} -> {first}"
    )
    _weight_file.check(file, networks.build(description), description)


@pytest.mark.slow
def test_both_commands_say_what_they_read_and_wrote(tmp_path, network):
    description, params = network
    path, out = tmp_path / "a.pth", tmp_path / "out.npz"
    write_torch(path, torch_tensors(params, NAMES[description["kind"]]), "ema")
    options = {"architecture": description, "key": "ema"}
    for report, name in (
        (canonicalize.run(path, out, **options), "read_as"),
        (merge.run([path, path], out, **options), "read_as_1"),
    ):
        assert report[name].startswith("torch layers of 'ema': ")
        assert '"activation": ' in report["architecture"]
        assert report["out"] == str(out) and out.exists()


def test_a_part_of_a_file_is_named_by_key(tmp_path):
    params = testing.random_params(jax.random.key(0), networks.build(MLP))
    path = tmp_path / "a.npz"
    symmerge_jax.save(path, {"state": {"params": params}, "x": {"y": np.ones(2)}})
    found = _weight_file.read(path, "state.params")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    with pytest.raises(ValueError, match=r"a\.npz' has no part 'p'.*\['params'\]"):
        _weight_file.read(path, "state.p")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".npz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PyTorch checkpoint|no npz|not a file of weights"),
        (b"<html>", "no PyTorch checkpoint|no npz|not a file of weights"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "older than PyTorch 1.6"),
        (b"PK\3\4" + bytes(26) + b"archive/data.pkl", "no PyTorch checkpoint, or trun"),
    ],
)
def test_files_that_are_nothing_are_named(tmp_path, suffix, content, message):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        _weight_file.read(path)
    assert str(path) in str(error.value)


UNDECIDED = [
    (MLP, "activation", r'"layer_sizes":\[4,6,5,3\],"activation":"relu"'),
    (CNN, "activation", r'"activation":"relu".*\(activations are gelu, '),
    (CNN, "stride", '"stride":2'),
    (CNN, "readout", '"readout":"mean"'),
    (CNN, "image_shape", r'"image_shape":\[28,28,2\]'),
]


@pytest.mark.parametrize(("description", "name", "remedy"), UNDECIDED)
@pytest.mark.parametrize("where", ["given", "stored", "text"])
def test_nothing_is_proved_of_a_function_that_nobody_told(
    tmp_path, description, name, remedy, where
):
    params = testing.random_params(jax.random.key(0), networks.build(description))
    left = {key: value for key, value in description.items() if key != name}
    path, out = tmp_path / "a.npz", tmp_path / "out.npz"
    stored = left if where == "stored" else None
    symmerge_jax.save(path, params, architecture=stored)
    (tmp_path / "a.json").write_text(str(left).replace("'", '"'))
    given = {"given": left, "stored": None, "text": str(tmp_path / "a.json")}[where]
    message = (
        f"lacks {name}, which the weights do not tell .*--architecture='.*{remedy}"
    )
    with pytest.raises(ValueError, match=message) as error:
        canonicalize.run(path, out, architecture=given)
    assert str(path) in str(error.value)
    with pytest.raises(ValueError, match=message):
        merge.run([path, path], out, architecture=given)
    assert not out.exists()


def test_the_frequency_of_a_siren_is_not_guessed(tmp_path):
    siren = {"kind": "siren", "layer_sizes": [2, 4, 1]}
    decided = {"w0": 10.0, "first_w0": None, "output_offset": 0.0}
    params = testing.random_params(jax.random.key(0), networks.build(siren))
    path, out = tmp_path / "a.npz", tmp_path / "out.npz"
    symmerge_jax.save(path, params)
    with pytest.raises(ValueError, match="lacks w0, first_w0, output_offset, which"):
        canonicalize.run(path, out, architecture=siren)
    report = canonicalize.run(path, out, architecture={**siren, **decided})
    assert '"w0": 10.0' in report["architecture"]


@pytest.mark.parametrize(
    ("suggestion", "params"),
    [
        (r'"mlp","layer_sizes":\[2,3\],"activation"', {"dense_0": ["kernel", "bias"]}),
        (r'"layer_sizes":\[2,3\],"use_bias":false,', {"dense_0": ["kernel"]}),
        (r'"layer_sizes":\[784,128,10\]', {"layer": ["kernel"]}),
        (r'"cnn","image_shape":\[28,28,2\],"channels":\[3\]', {"conv_0": ["kernel"]}),
    ],
)
def test_the_description_to_give_has_the_sizes_of_the_weights(
    tmp_path, suggestion, params
):
    shapes = {"dense_0": (2, 3), "layer": (2, 3), "conv_0": (5, 5, 2, 3)}
    tree = {
        layer: {
            name: np.ones(shapes[layer] if name == "kernel" else 3) for name in names
        }
        for layer, names in params.items()
    }
    symmerge_jax.save(tmp_path / "a.npz", tree)
    with pytest.raises(ValueError, match=rf"does not say .*'{{\"kind\":.*{suggestion}"):
        canonicalize.run(tmp_path / "a.npz", tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ("[1, 2]", r"must be a JSON object, got '\[1, 2\]': pass --architecture='{"),
        ('"mlp"', "must be a JSON object"),
        ("{", "the architecture is not JSON"),
    ],
)
def test_texts_that_describe_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        _weight_file.read_architecture(text)
