"""Trained matchers as folders, and the networks that they take."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from symmerge_jax import deep_align, networks, symmetry, testing

ARCHITECTURE = {"kind": "mlp", "layer_sizes": [3, 5, 4, 2], "activation": "relu"}
PROBES = {"kind": "probes", "num_probes": 6, "feature_size": 4, "width": 3}
DWS = {"kind": "deep_weight_space", "width": 2, "num_layers": 1, "feature_size": 4}
FILES = ["matcher.json", "weights.safetensors"]


def make(features, architecture=ARCHITECTURE):
    """Return an untrained matcher with generic parameters; nothing is compiled."""
    network = networks.build(architecture)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    statistics = {path: (0.1 * i, 0.2) for i, path in enumerate(sorted(shapes))}
    random = np.random.default_rng(0)
    matcher = deep_align.build(architecture, features, statistics)
    variables = jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(x.dtype),
        jax.eval_shape(matcher.init, jax.random.key(0)),
    )
    return deep_align.TrainedMatcher(
        architecture, features, statistics, variables, {"barrier": {"mean": 0.25}}
    )


@pytest.fixture(params=[PROBES, DWS], ids=lambda features: features["kind"])
def trained(request):
    return make(request.param)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run" / "matcher"
    deep_align.save_matcher(folder, make(PROBES))
    return folder


def edit(folder, **changes):
    path = folder / "matcher.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip_is_bitwise(tmp_path, trained):
    deep_align.save_matcher(tmp_path / "run" / "matcher", trained)
    assert sorted(x.name for x in (tmp_path / "run" / "matcher").iterdir()) == FILES
    for path in (tmp_path / "run" / "matcher", str(tmp_path / "run")):
        loaded = deep_align.load_matcher(path)
        for field in ("architecture", "features", "statistics", "metadata"):
            assert getattr(loaded, field) == getattr(trained, field)
        old, new = map(symmetry.flatten, (trained.variables, loaded.variables))
        assert old.keys() == new.keys()
        for name, leaf in old.items():
            assert np.asarray(leaf).tobytes() == np.asarray(new[name]).tobytes()
    params = testing.random_params(jax.random.key(0), trained.matcher.network)
    one, other = (
        jax.device_get(jax.jit(x.aligner(num_sweeps=0).similarities)(params, params))
        for x in (trained, loaded)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_matcher_is_replaced_and_nothing_else(saved):
    changed = dataclasses.replace(deep_align.load_matcher(saved), metadata={"n": 2})
    deep_align.save_matcher(saved, changed)
    assert deep_align.load_matcher(saved).metadata == {"n": 2}
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="more than a matcher, so it is not replaced"):
        deep_align.save_matcher(saved, changed)


def test_missing_files_are_named(saved):
    with pytest.raises(FileNotFoundError, match=r"No matcher in .*matcher\.json'"):
        deep_align.load_matcher(saved.parent.parent)
    (saved / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors' does not"):
        deep_align.load_matcher(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused(saved, name, kept):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"matcher in .* is damaged .*export it again"):
        deep_align.load_matcher(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2; this release reads .* version 1"),
        ({"format": "symmerge_jax.canonicalizer"}, r"has format .*canonicalizer"),
        ({"features": None}, "is damaged .*'features'"),
        ({"features": {**PROBES, "kind": "x"}}, "Unknown kind of features 'x'"),
        ({"features": {**PROBES, "num_probes": 7}}, r"tensor .* has shape .*describes"),
        ({"weights_sha256": "0"}, r"not the file that matcher\.json was written with"),
    ],
)
def test_other_contents_are_refused(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        deep_align.load_matcher(saved)


def test_parameters_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    trained = make(PROBES)
    trained.variables["features"]["params"]["probes"][2, 1] = np.nan
    with pytest.raises(ValueError, match=r"probes' is not finite: nan at index \(2, 1"):
        deep_align.save_matcher(tmp_path / "matcher", trained)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(symmetry, "check_finite", lambda _: None)  # another writer
    deep_align.save_matcher(tmp_path / "matcher", trained)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"params/probes' has entries that are not fi"):
        deep_align.load_matcher(tmp_path / "matcher")


def test_hidden_widths_may_be_others(saved):
    trained = deep_align.load_matcher(saved)
    wide = {**ARCHITECTURE, "layer_sizes": (3, 9, 8, 2)}
    network = networks.build(wide)
    params = testing.random_params(jax.random.key(0), network)
    element = symmetry.sample(
        jax.random.key(1), network.spec, network.spec.sizes(params)
    )
    twin = symmetry.act(element, params, network.spec)
    aligner = trained.aligner(architecture=wide)
    found = jax.jit(aligner.similarities)(params, twin)
    assert {name: x.shape for name, x in found.items()} == {
        "hidden_0": (9, 9),
        "hidden_1": (8, 8),
    }
    assert aligner.num_sweeps == 2


@pytest.mark.parametrize(
    "change",
    [
        {"layer_sizes": [3, 5, 2]},
        {"layer_sizes": [4, 5, 4, 2]},
        {"layer_sizes": [3, 5, 4, 3]},
        {"activation": "leaky_relu"},
        {"activation": "tanh"},
        {"use_bias": False},
    ],
    ids=str,
)
def test_other_architectures_are_refused(trained, change):
    message = r"trained on \{.*\[3, 5, 4, 2\].*, the networks are \{.*hidden layers"
    with pytest.raises(ValueError, match=message):
        trained.aligner(architecture={**ARCHITECTURE, **change})


@pytest.mark.parametrize("change", [{"kernel_size": 4}, {"stride": 1}], ids=str)
def test_convolutions_of_another_geometry_are_refused(change):
    cnn = {"kind": "cnn", "image_shape": [8, 8, 1], "channels": [4], "num_classes": 2}
    trained = make(PROBES, cnn)
    assert (
        trained.aligner(architecture={**cnn, "channels": [6]}).matcher.signed is False
    )
    with pytest.raises(ValueError, match="trained on .* the networks are"):
        trained.aligner(architecture={**cnn, **change})
