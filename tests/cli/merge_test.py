import json

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import deep_align, networks, symmetry, testing
from symmerge_jax.cli import _merge as merge

MLP = {"kind": "mlp", "layer_sizes": [4, 6, 3], "activation": "tanh"}
NETWORK = networks.build(MLP)


@pytest.fixture(scope="module")
def twins():
    params = testing.random_params(jax.random.key(0), NETWORK, std=1.0)
    sample = jax.jit(lambda key, x: symmetry.sample_orbit(key, x, NETWORK.spec, 3))
    found = sample(jax.random.key(1), params)
    return [jax.tree.map(lambda x, k=k: np.array(x[k]), found) for k in range(3)]


@pytest.fixture
def files(tmp_path, twins):
    paths = [tmp_path / name for name in ("a.npz", "b.safetensors", "c.npz")]
    for path, params in zip(paths, twins, strict=True):
        symmerge_jax.save(path, params, architecture=MLP)
    return paths


def outputs(params):
    return np.asarray(NETWORK.apply(params, np.linspace(-1, 1, 20).reshape(5, 4)))


@pytest.mark.slow
def test_twins_are_merged_and_aligned(tmp_path, files, twins):
    report = merge.run(
        files,
        tmp_path / "out.npz",
        aligned_dir=tmp_path / "aligned",
        weights=["0.2", "0.3", "0.5"],
    )
    assert (report["networks"], report["aligner"]) == (3, "weight_matching")
    assert report["certificate"] < 1e-6 and report["converged"]
    assert report["spread_after"] < 1e-10 < report["spread_before"]
    merged = symmerge_jax.load(tmp_path / "out.npz")
    assert symmerge_jax.load_architecture(tmp_path / "out.npz")["kind"] == "mlp"
    np.testing.assert_allclose(outputs(merged), outputs(twins[0]), atol=1e-5)
    names = sorted(path.name for path in (tmp_path / "aligned").iterdir())
    assert names == ["0_a.npz", "1_b.npz", "2_c.npz"]
    for name in names:
        params = symmerge_jax.load(tmp_path / "aligned" / name)
        np.testing.assert_allclose(
            params["dense_0"]["kernel"], twins[0]["dense_0"]["kernel"], atol=1e-6
        )


@pytest.mark.slow
def test_losses_and_barriers_before_and_after(tmp_path, files, twins):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    y = np.asarray(NETWORK.apply(twins[0], x))
    np.savez(tmp_path / "classes.npz", x=x, y=y.argmax(1))
    np.savez(tmp_path / "numbers.npz", x=x, y=y)
    out = tmp_path / "out.npz"
    report = merge.run(files, out, data=str(tmp_path / "classes.npz"))
    assert report["error_0"] == report["error_merged"] == 0 < report["loss_merged"]
    assert report["loss_barrier_before"] > 0.01 > abs(report["loss_barrier_after"])
    report = merge.run(files, out, data=str(tmp_path / "numbers.npz"))
    assert report["mse_2"] < 1e-10 and report["mse_merged"] < 1e-10
    assert report["mse_barrier_before"] > 0.01 > report["mse_barrier_after"]
    assert report["mse_auc_before"] > 0.01 > report["mse_auc_after"]


@pytest.mark.slow
def test_the_mean_is_mended_on_the_data_or_without(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    paths, wanted = [], 0
    for number in range(2):
        params = testing.random_params(jax.random.key(number), NETWORK, std=1.0)
        wanted = wanted + np.asarray(NETWORK.apply(params, x)) / 2
        paths.append(tmp_path / f"{number}.npz")
        symmerge_jax.save(paths[-1], params, architecture=MLP)
    symmerge_jax.save(tmp_path / "data.npz", {"x": x, "y": wanted})
    data, out = str(tmp_path / "data.npz"), tmp_path / "out.npz"
    plain = merge.run(paths, out, data=data)
    mended = merge.run(paths, out, data=data, repair=["least_squares"])
    assert mended["mse_merged"] < 0.5 * plain["mse_merged"]
    name = "dense_1/kernel"
    assert mended[f"missing_after_{name}"] < mended[f"missing_before_{name}"]
    assert merge.run(paths, out, repair=["rescale"])["repair"] == "rescale"
    with pytest.raises(ValueError, match="Unknown method 'reset'"):
        merge.run(paths, out, repair=["reset"])
    with pytest.raises(ValueError, match="'least_squares' needs inputs"):
        merge.run(paths, out, repair=["least_squares"])


@pytest.mark.slow
def test_images_are_data(tmp_path):
    description = {"kind": "mlp", "layer_sizes": [64, 4, 10], "activation": "gelu"}
    network = networks.build(description)
    for name, seed in (("a.npz", 0), ("b.npz", 1)):
        params = network.init(jax.random.key(seed))
        symmerge_jax.save(tmp_path / name, params)
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    (tmp_path / "mlp.json").write_text(json.dumps(description))
    report = merge.run(
        paths,
        tmp_path / "out.npz",
        architecture=str(tmp_path / "mlp.json"),
        data="digits",
        num_random_starts=1,
    )
    assert 0.5 < report["error_merged"] < 1 and report["loss_merged"] > 1
    naive = merge.run(
        paths, tmp_path / "naive.npz", architecture=description, aligner="identity"
    )
    assert naive["spread_after"] == naive["spread_before"] == report["spread_before"]
    assert report["spread_after"] < report["spread_before"]
    complete = {**description, "use_bias": True}
    assert symmerge_jax.load_architecture(tmp_path / "out.npz") == complete


@pytest.mark.slow
@pytest.mark.parametrize("aligner", sorted(set(merge.ALIGNERS) - {"identity"}))
def test_every_aligner_merges_two_twins(tmp_path, files, twins, aligner):
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = np.asarray(NETWORK.apply(twins[0], x))
    np.savez(tmp_path / "data.npz", x=x, y=y)
    report = merge.run(
        files[:2],
        tmp_path / "out.npz",
        aligner=aligner,
        data=str(tmp_path / "data.npz"),
    )
    assert report["mse_merged"] < 1e-8 and report["aligner"] == aligner
    assert report["spread_after"] < 1e-10 < report["spread_before"]


def test_a_spec_that_does_not_fit_writes_nothing(tmp_path, files, monkeypatch):
    wrong = NETWORK._replace(spec=networks.mlp((4, 6, 3), "relu").spec)
    monkeypatch.setattr(networks, "build", lambda description: wrong)
    with pytest.raises(ValueError, match=r"rescaling .* space 'hidden_0'"):
        merge.run(files, tmp_path / "out.npz", aligned_dir=tmp_path / "aligned")
    assert not (tmp_path / "out.npz").exists()
    assert not (tmp_path / "aligned").exists()


BAD = {
    "one network": ({"paths": ["a.npz"]}, "at least two networks, got 1"),
    "no file": ({"paths": ["a.npz", "nowhere.npz"]}, r"No such file: '.*nowhere\.npz'"),
    "suffix": ({"out": "out.txt"}, r"got suffix '\.txt'"),
    "overwrites": ({"out": "a.npz"}, "'.*a.npz' is one of the networks to merge"),
    "aligner": ({"aligner": "magic"}, "Unknown aligner 'magic'; known are"),
    "starts": (
        {"aligner": "identity", "num_random_starts": 2},
        "num_random_starts has no effect on aligner 'identity'",
    ),
    "aligner without data": (
        {"aligner": "activation_matching"},
        "'activation_matching' looks at data: name some with --data",
    ),
    "weights": ({"weights": ["0.5", "x"]}, r"must be numbers, got \['0.5', 'x'\]"),
    "sum": ({"weights": [0.5, 0.6, 0.7]}, "must sum to 1"),
    "architecture file": ({"architecture": "net.json"}, "No such file: 'net.json'"),
    "architecture text": ({"architecture": "{"}, "the architecture is not JSON"),
    "other sizes": (
        {"architecture": {**MLP, "layer_sizes": [4, 5, 3]}},
        r"'.*a\.npz': the weights have .*kernel \(4, 6\), .*kernel \(4, 5\)",
    ),
    "other depth": (
        {"architecture": {**MLP, "layer_sizes": [4, 3]}},
        r"'.*a\.npz': .* unknown \['dense_1/bias', 'dense_1/kernel'\]",
    ),
    "unknown data": ({"data": "cats"}, "Unknown data 'cats': name an .npz file"),
    "no data": ({"data": "nowhere.npz"}, "No such file: 'nowhere.npz'"),
    "other inputs": ({"data": "digits"}, r"x has shape \(1797, 64\), .* \[S, 4\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_written(name, tmp_path, files):
    options, message = BAD[name]
    arguments = {"paths": ["a.npz", "b.safetensors", "c.npz"], "out": "out.npz"}
    arguments |= options
    arguments["paths"] = [tmp_path / path for path in arguments["paths"]]
    arguments["out"] = tmp_path / arguments["out"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        merge.run(**arguments)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_of_different_networks_are_named(tmp_path, files, twins):
    other = {**MLP, "activation": "relu"}
    symmerge_jax.save(files[1], twins[1], architecture=other)
    with pytest.raises(
        ValueError, match=r"b\.safetensors' holds .*'relu'.*, but .*tanh"
    ):
        merge.run(files, tmp_path / "out.npz")
    for path in files:
        symmerge_jax.save(path, twins[0])
    with pytest.raises(
        ValueError, match=r"does not say which .*: pass --architecture="
    ):
        merge.run(files, tmp_path / "out.npz")
    damaged = jax.tree.map(np.copy, twins[1])
    damaged["dense_0"]["bias"][2] = np.nan
    symmerge_jax.save(files[1], damaged)
    with pytest.raises(
        ValueError, match=r"b\.safetensors': .*'dense_0/bias' is not fin"
    ):
        merge.run(files, tmp_path / "out.npz", architecture=MLP)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((5, 4))}, "has no array 'y'"),
        ({"x": np.ones((5, 3)), "y": np.ones((5, 3))}, r"x has shape \(5, 3\)"),
        ({"x": np.ones((5, 4)), "y": np.ones((5, 2))}, r"y has shape \(5, 2\), expect"),
        ({"x": np.ones((5, 4)), "y": np.full(5, 3)}, "classes 3 to 3 do not fit the 3"),
        ({"x": np.full((5, 4), np.nan), "y": np.ones((5, 3))}, "x or y is not finite"),
        ({"x": np.ones((0, 4)), "y": np.ones((0, 3))}, r"x has shape \(0, 4\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(arrays, message, tmp_path, files):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        merge.run(files, tmp_path / "out.npz", data=str(tmp_path / "data.npz"))
    assert not (tmp_path / "out.npz").exists()


def save_matcher(folder, architecture):
    """Write an untrained matcher of probes; nothing is compiled."""
    network = networks.build(architecture)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    features = {"kind": "probes", "num_probes": 8, "feature_size": 8, "width": 0}
    statistics = dict.fromkeys(shapes, (0.0, 1.0))
    matcher = deep_align.build(architecture, features, statistics)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(x.dtype),
        jax.eval_shape(matcher.init, jax.random.key(0)),
    )
    trained = deep_align.TrainedMatcher(architecture, features, statistics, variables)
    deep_align.save_matcher(folder, trained)


@pytest.mark.slow
def test_a_trained_matcher_starts_the_search(tmp_path, files):
    wider = {**MLP, "layer_sizes": [4, 9, 3]}  # hidden widths may be others
    save_matcher(tmp_path / "run" / "matcher", wider)
    report = merge.run(
        files, tmp_path / "out.npz", aligner="identity", matcher=tmp_path / "run"
    )
    assert report["certificate"] < 1e-6
    assert report["spread_after"] < 1e-10 < report["spread_before"]


CNN = {
    "kind": "cnn",
    "image_shape": [8, 8, 1],
    "channels": [6],
    "activation": "relu",
    "stride": 2,
    "readout": "mean",
}


@pytest.fixture
def cnn_files(tmp_path):
    network = networks.build(CNN)
    params = testing.random_params(jax.random.key(0), network)
    twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 2)
    paths = [tmp_path / name for name in ("a.npz", "b.safetensors")]
    for k, path in enumerate(paths):
        one = jax.tree.map(lambda x, k=k: np.array(x[k]), twins)
        symmerge_jax.save(path, one, architecture=CNN)
    return paths


@pytest.mark.slow
def test_cnns_are_merged_also_from_a_matcher(tmp_path, cnn_files):
    out = tmp_path / "out.npz"
    report = merge.run(cnn_files, out)
    assert report["certificate"] < 1e-6
    assert report["spread_after"] < 1e-10 < report["spread_before"]
    assert symmerge_jax.load_architecture(out)["image_shape"] == [8, 8, 1]
    save_matcher(tmp_path / "matcher", CNN)
    report = merge.run(cnn_files, out, matcher=tmp_path / "matcher", data="digits")
    assert report["certificate"] < 1e-6
    assert report["loss_merged"] == pytest.approx(report["loss_0"], rel=1e-4)


def test_a_changed_function_writes_no_cnn(tmp_path, cnn_files, monkeypatch):
    network = networks.build(CNN)
    wrong = network._replace(spec=networks.build({**CNN, "activation": "tanh"}).spec)
    monkeypatch.setattr(networks, "build", lambda description: wrong)
    with pytest.raises(ValueError, match=r"flipping signs .* space 'hidden_0'"):
        merge.run(cnn_files, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_matchers_that_do_not_fit_are_refused(tmp_path, files):
    save_matcher(tmp_path / "matcher", {**MLP, "activation": "relu"})
    out = tmp_path / "out.npz"
    with pytest.raises(ValueError, match=r"trained on .*relu.* networks are .*tanh"):
        merge.run(files, out, matcher=tmp_path / "matcher")
    with pytest.raises(FileNotFoundError, match=r"No matcher in .*deep_align_mlp"):
        merge.run(files, out, matcher=tmp_path / "nothing")
    with pytest.raises(ValueError, match="no effect on aligner 'activation_matching'"):
        merge.run(
            files,
            out,
            aligner="activation_matching",
            matcher=tmp_path / "matcher",
            data="digits",
        )
    save_matcher(tmp_path / "run/models/ours_0/matcher", {**MLP, "activation": "relu"})
    with pytest.raises(FileNotFoundError, match=r"Give one of .*models/ours_0/matcher"):
        merge.run(files, out, matcher=tmp_path / "run")
    assert not out.exists()
