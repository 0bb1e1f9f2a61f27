"""Trained matchers as folders, and the networks that they take."""

import dataclasses
import json

import chex
import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import alignment, deep_align, files, networks, symmetry

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


def pair_of(**changes):
    """Return two networks of an architecture, and its spec."""
    network = networks.build({**ARCHITECTURE, **changes})
    shapes, random = jax.eval_shape(network.init, jax.random.key(0)), np.random
    draw = lambda x: random.default_rng(0).normal(size=x.shape)  # noqa: E731
    one = jax.tree.map(lambda x: np.abs(draw(x)).astype(np.float32), shapes)
    return one, jax.tree.map(lambda x: x + 1, one), network.spec


@pytest.fixture(params=[PROBES, DWS], ids=lambda features: features["kind"])
def trained(request):
    return make(request.param)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run" / "matcher"
    deep_align.save_matcher(folder, make(PROBES))
    return folder


def edit(folder, **changes):
    """Write another description, as another writer would: with its own digest."""
    path = folder / "matcher.json"
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps(files.seal(content)))


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
    assert loaded.aligner().num_sweeps == 2
    assert loaded.aligner(num_sweeps=0).matcher is loaded.matcher


def test_it_is_shown_without_its_numbers(trained):
    assert "architecture={'kind': " in repr(trained)
    assert "variables" not in repr(trained)


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
        ({"version": 3}, "version 3; this release reads .* version 2"),
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
    one, _, spec = pair_of(**wide)
    element = {
        name: symmetry.Monomial(np.roll(np.arange(n, dtype=np.int32), 1), np.ones(n))
        for name, n in {"hidden_0": 9, "hidden_1": 8}.items()
    }
    twin = symmetry.act(element, one, spec)
    aligner = trained.aligner(architecture=wide, num_sweeps=0)
    found = symmerge_jax.align(one, twin, spec, aligner=aligner)
    chex.assert_trees_all_equal(found.params, one)


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
    with pytest.raises(ValueError, match=r"trained on .* the networks are"):
        trained.aligner(architecture={**cnn, **change})


@pytest.mark.parametrize(("num_sweeps", "batched"), [(0, False), (2, True)])
@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({"layer_sizes": [3, 5, 2]}, r"in 3, hidden_0 5 scale, out 2\) in 4 tensors"),
        (
            {"layer_sizes": [7, 5, 4, 2]},
            r"in 7, hidden_0 5 scale, hidden_1 4 scale, ou",
        ),
        ({"activation": "tanh"}, "in 3, hidden_0 5 sign, hidden_1 4 sign, out 2"),
        ({"use_bias": False}, r"out 2\) in 3 tensors"),
    ],
    ids=str,
)
def test_networks_of_another_spec_are_refused(num_sweeps, batched, changes, theirs):
    a, b, spec = pair_of(**changes)
    if batched:
        a, b = jax.tree.map(lambda x: np.stack([x, x]), (a, b))
    aligner = make(PROBES).aligner(num_sweeps=num_sweeps)
    with pytest.raises(
        ValueError, match=rf"The matcher compares .*these have.*{theirs}"
    ):
        symmerge_jax.align(a, b, spec, aligner=aligner)


@pytest.mark.parametrize("inside", [False, True])
def test_a_network_tells_activations_of_one_group_apart(inside):
    leaky = networks.build({**ARCHITECTURE, "activation": "leaky_relu"})
    a, b, spec = pair_of()
    assert leaky.spec == spec
    aligner = make(PROBES).aligner(num_sweeps=0)
    with pytest.raises(
        ValueError, match=r"trained on networks with activations .*leak"
    ):
        if inside:
            many = alignment.MergeMany(init=aligner)
            symmerge_jax.merge([a, b], leaky, aligner=many)
        else:
            symmerge_jax.align(a, b, leaky, aligner=aligner)


def test_other_widths_are_refused_where_they_are_built_in():
    a, b, spec = pair_of(layer_sizes=[3, 6, 4, 2])
    with pytest.raises(ValueError, match=r"hidden_0 5 .*hidden_0 6 .*architecture="):
        symmerge_jax.align(a, b, spec, aligner=make(DWS).aligner())
    with pytest.raises(ValueError, match=r"hidden_0 5 .*hidden_0 6 .*architecture="):
        make(DWS).aligner().similarities(a, b)


def test_bad_pairs_are_refused_before_any_work():
    aligner = make(PROBES).aligner()
    one, other, spec = pair_of()
    broken = jax.tree.map(np.array, other)
    broken["dense_1"]["bias"][2] = np.nan
    wide, _, _ = pair_of(layer_sizes=[3, 5, 6, 2])
    for bad, message in (
        (
            broken,
            r"params_b: Parameter 'dense_1/bias' is not finite: nan at index \(2,",
        ),
        (wide, r"'dense_1/bias' has shape \(6,\) .* in params_b"),
    ):
        with pytest.raises(ValueError, match=message):
            symmerge_jax.align(one, bad, spec, aligner=aligner)
        problem = alignment.AlignmentProblem(params_a=one, params_b=bad, spec=spec)
        with pytest.raises(ValueError, match=message):
            aligner(jax.random.key(0), problem)


@pytest.mark.slow
def test_every_pair_of_a_batch_gets_its_own_element():
    """Three pairs: the last chunk is not full."""
    one, _, spec = pair_of()
    random = np.random.default_rng(1)
    draw = lambda x: np.abs(random.normal(size=(3, *x.shape)))  # noqa: E731
    params = jax.tree.map(lambda x: draw(x).astype(np.float32), one)
    element = {
        name: symmetry.Monomial(
            random.permuted(np.tile(np.arange(n, dtype=np.int32), (3, 1)), axis=1),
            np.ones((3, n), np.float32),
        )
        for name, n in {"hidden_0": 5, "hidden_1": 4}.items()
    }
    twins = jax.vmap(lambda e, x: symmetry.act(e, x, spec))(element, params)
    aligner = make(PROBES).aligner(num_sweeps=0)
    found = symmerge_jax.align(params, twins, spec, aligner=aligner)
    inverse = jax.vmap(symmetry.inverse)(element)
    for name, (perm, _) in found.result.element.items():
        np.testing.assert_array_equal(perm, inverse[name].perm)
    chex.assert_trees_all_equal(found.params, params)
