import json

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import autoencoders, networks, symmetry, testing
from symmerge_jax.cli import _canonicalize as canonicalize
from tests.zoo import checkpoints

DECIDED = {"w0": 30.0, "first_w0": None, "output_offset": 0.5}
SIREN = {"kind": "siren", "layer_sizes": [2, 4, 1], **DECIDED}


@pytest.fixture(scope="module")
def twins():
    network = networks.build(SIREN)
    params = testing.random_params(jax.random.key(0), network)
    return symmetry.sample_orbit(jax.random.key(1), params, network.spec, 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A saved canonicaliser, which nobody trained."""
    network = networks.build(SIREN)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    statistics = {path: (0.0, 0.2) for path in shapes}
    encoder = {"kind": "probe", "width": 4, "num_probes": 2}
    model = autoencoders.build(SIREN, encoder, {}, statistics)
    canonicalizer = autoencoders.Canonicalizer(
        SIREN, encoder, {}, statistics, jax.jit(model.init)(jax.random.key(0))
    )
    folder = tmp_path_factory.mktemp("runs") / "canonicalizer"
    autoencoders.save_canonicalizer(folder, canonicalizer)
    return folder


def test_closed_form_of_a_file(tmp_path, twins):
    symmerge_jax.save(tmp_path / "a.npz", twins, architecture=SIREN)
    report = canonicalize.run(tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert (report["networks"], report["form"]) == (3, "closed")
    assert 0 < report["max_output_difference"] < 1e-4 < report["output_std"]
    forms = symmerge_jax.load(tmp_path / "b.safetensors")
    assert symmerge_jax.load_architecture(tmp_path / "b.safetensors") == SIREN
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_allclose(leaf, np.broadcast_to(leaf[0], leaf.shape))


def test_autoencoder_and_its_architecture(tmp_path, twins, trained):
    one = jax.tree.map(lambda x: x[0], twins)
    symmerge_jax.save(tmp_path / "a.safetensors", one)
    report = canonicalize.run(
        tmp_path / "a.safetensors", tmp_path / "b.npz", canonicalizer=trained
    )
    assert (report["networks"], report["form"]) == (1, "decoded")
    assert report["architecture_of"] == "the canonicaliser"
    assert report["max_output_difference"] > 1e-3
    assert symmerge_jax.load_architecture(tmp_path / "b.npz") == SIREN
    decoded = symmerge_jax.load(tmp_path / "b.npz")
    assert jax.tree.map(np.shape, decoded) == jax.tree.map(np.shape, one)


def test_twins_beside_the_template_of_an_autoencoder(tmp_path, twins, trained):
    weights, out = tmp_path / "a.npz", tmp_path / "b.npz"
    symmerge_jax.save(weights, twins, architecture=SIREN)
    report = canonicalize.run(weights, out, canonicalizer=trained, form="template")
    assert (report["networks"], report["form"]) == (3, "template")
    assert report["max_output_difference"] < 1e-4 < report["output_std"]
    forms = symmerge_jax.load(out)
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_allclose(leaf, np.broadcast_to(leaf[0], leaf.shape))
    assert np.ptp(twins["dense_0"]["kernel"], axis=0).max() > 0.01


def test_cnns_read_images(tmp_path, monkeypatch):
    description = {
        "kind": "cnn",
        "image_shape": [6, 6, 1],
        "channels": [3],
        "activation": "tanh",
        "stride": 2,
        "readout": "mean",
    }
    network = networks.build(description)
    params = testing.random_params(jax.random.key(0), network)
    weights, out = tmp_path / "a.npz", tmp_path / "b.npz"
    symmerge_jax.save(weights, params, architecture=description)
    monkeypatch.setattr(canonicalize, "_NUM_NUMBERS", 6 * 36)
    report = canonicalize.run(weights, out)
    assert report["max_output_difference"] < 1e-4 < report["output_std"]
    completed = {"num_classes": 10, "kernel_size": 3}
    assert symmerge_jax.load_architecture(out) == description | completed
    assert json.loads(report["architecture"]) == description | completed
    assert report["out"] == str(out)


def test_nothing_is_written_where_the_comparison_fails(tmp_path, twins, monkeypatch):
    symmerge_jax.save(tmp_path / "a.npz", twins, architecture=SIREN)

    def fail(*_):
        raise ValueError("no comparison")

    monkeypatch.setattr(canonicalize, "_difference", fail)
    with pytest.raises(ValueError, match="no comparison"):
        canonicalize.run(tmp_path / "a.npz", tmp_path / "b.npz")
    assert not (tmp_path / "b.npz").exists()


def test_a_given_architecture_goes_before_the_stored_one(tmp_path, twins):
    symmerge_jax.save(tmp_path / "a.npz", twins, architecture=SIREN)
    given = {**SIREN, "w0": 7.0}
    canonicalize.run(tmp_path / "a.npz", tmp_path / "b.npz", architecture=given)
    assert symmerge_jax.load_architecture(tmp_path / "b.npz") == given


def test_what_does_not_fit_is_refused(tmp_path, twins, trained):
    weights, out = tmp_path / "a.npz", tmp_path / "b.npz"
    symmerge_jax.save(weights, twins)
    with pytest.raises(ValueError, match=r"does not say .*pass --architecture="):
        canonicalize.run(weights, out)
    message = (
        r"dense_0/kernel \(3, 2, 4\), .* dense_0/kernel \(2, 5\).*the transpose of"
    )
    with pytest.raises(ValueError, match=message):
        canonicalize.run(weights, out, architecture={**SIREN, "layer_sizes": [2, 5, 1]})
    with pytest.raises(ValueError, match=r"missing \['dense_2/bias'"):
        canonicalize.run(
            weights, out, architecture={**SIREN, "layer_sizes": [2, 4, 4, 1]}
        )
    with pytest.raises(ValueError, match=r"with output_offset 0\.5, these have 0\.0"):
        canonicalize.run(
            weights,
            out,
            architecture={**SIREN, "output_offset": 0.0},
            canonicalizer=trained,
        )
    with pytest.raises(ValueError, match="form is 'exact', known are closed"):
        canonicalize.run(weights, out, architecture=SIREN, form="exact")
    with pytest.raises(ValueError, match="'template' needs a canonicalizer"):
        canonicalize.run(weights, out, architecture=SIREN, form="template")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        canonicalize.run(tmp_path / "nowhere.npz", out, architecture=SIREN)
    with pytest.raises(FileNotFoundError, match="No canonicaliser"):
        canonicalize.run(weights, out, canonicalizer=tmp_path)
    with pytest.raises(ValueError, match=r"got suffix '\.txt'"):
        canonicalize.run(weights, tmp_path / "b.txt", architecture=SIREN)
    uneven = jax.tree.map(lambda x: x, twins)
    uneven["dense_0"] = jax.tree.map(lambda x: x[0], uneven["dense_0"])
    symmerge_jax.save(weights, uneven)
    with pytest.raises(ValueError, match="of different numbers of networks: dense_0"):
        canonicalize.run(weights, out, architecture=SIREN)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_state_dict_of_another_model_is_named(tmp_path):
    file = tmp_path / "net.pth"
    tensor = checkpoints.Tensor("0", np.ones((2, 3), np.float32))
    checkpoints.write(file, {"norm.gain": tensor})
    with pytest.raises(ValueError, match=r"net\.pth': 'norm\.gain' of shape .* is no"):
        canonicalize.run(file, tmp_path / "b.npz", architecture=SIREN)


def test_a_real_state_dict(tmp_path, data_dir):
    name = "mnist_png_testing_6_3665_augmented_0/checkpoints/model_final.pth"
    architecture = {**SIREN, "layer_sizes": [2, 32, 32, 1]}
    out = tmp_path / "b.npz"
    report = canonicalize.run(
        data_dir / "mnist_inrs" / name, out, architecture=architecture
    )
    # Outputs are about 1, the phases of 64 sine neurons are rounded at float32.
    assert report["networks"] == 1 and report["max_output_difference"] < 1e-3
    assert symmerge_jax.load(out)["dense_1"]["kernel"].shape == (32, 32)
