import json
import pathlib

import jax
import numpy as np
import pytest

from experiments import harness, registry, train
from experiments.compare import failure_mode
from experiments.populations import families
from symmerge_jax import plots, zoo
from tests.experiments import encoders

FILES = {
    *("cells", "config.json", "paths_image.pdf", "paths_image.png", "paths_own.pdf"),
    *("paths_own.png", "renderings.pdf", "renderings.png", "results.json"),
    *("results.npz", "versions.json"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return encoders.save_two_runs(tmp_path_factory.mktemp("runs"))


def tiny(canonicalizers, **changes):
    config = failure_mode.default_config()
    config.canonicalizers = canonicalizers
    config.num_networks, config.num_twins, config.num_points = 2, 8, 5
    config.num_random_starts = 1
    config.methods = ("naive", "matching_best", "reconstruct", "latent")
    config.update(changes)
    return config


def execute(config, workdir):
    return harness.run(failure_mode.EXPERIMENT, config, workdir)


def text_of(results):
    return harness.to_text(failure_mode.EXPERIMENT.tables(results))


@pytest.fixture(scope="module")
def finished(runs, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("failure") / "run"
    config = tiny(runs, sigma=0.02)
    return config, workdir, execute(config, workdir)


@pytest.mark.slow
def test_a_run_writes_its_files(finished):
    config, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    cell = np.load(workdir / "cells" / "ablated.npz")
    assert cell["farthest/naive/image"].shape == (2, config.num_points)
    assert cell["farthest/reconstruct/rendered"].shape == (9, 6, 6)
    text = text_of(results)
    assert "MSE to the image" in text and "noise 0.02" in text
    assert text.count("ScaleGMN") == text.count("ablated") == 8
    again = execute(config, workdir)
    assert again == results


@pytest.mark.slow
def test_renderings_show_each_thing_once(finished, tmp_path, monkeypatch):
    _, workdir, _ = finished
    image_rows, labels = plots.image_rows, []

    def noted(rows, row_labels, columns):
        labels.extend(row_labels)
        return image_rows(rows, row_labels, columns)

    monkeypatch.setattr(plots, "image_rows", noted)
    drawn = harness.draw(failure_mode.EXPERIMENT, workdir / "results.json", tmp_path)
    assert labels == ["naive", "matched", "decoded:\nScaleGMN", "decoded:\nablated"]
    assert [path.name for path in drawn] == ["paths_image", "paths_own", "renderings"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (workdir / path.name).read_bytes()


@pytest.mark.slow
def test_the_farthest_pair_is_found_in_the_latent_space(finished, runs):
    config, _, results = finished
    compared = train.open_runs(runs)
    drawn = np.random.default_rng(config.seed).choice(
        compared.parts["test"], 2, replace=False
    )
    inrs = zoo.select(compared.zoo, drawn)
    for encoder in compared.encoders:
        canonicalizer = encoder.canonicalizer
        members = families.make_members("PD", inrs, canonicalizer.spec, 8, 0)
        found = results["encoders"][encoder.name]["farthest"]
        largest = []
        for i in range(2):
            twins = jax.tree.map(lambda x, i=i: x[i], members)
            z = np.asarray(canonicalizer.encode(twins), np.float64)
            z /= np.linalg.norm(z, axis=1, keepdims=True)
            cosine = 1 - z @ z.T
            a, b = found["pairs"][i]
            np.testing.assert_allclose(cosine[a, b], cosine.max(), atol=1e-14)
            largest.append(cosine.max())
        np.testing.assert_allclose(
            found["distance"]["mean"], np.mean(largest), rtol=1e-6, atol=1e-14
        )


@pytest.mark.slow
def test_only_the_encoder_that_is_not_invariant_leaves_the_function(finished):
    good, bad = (
        finished[2]["encoders"][name]["farthest"] for name in ("ScaleGMN", "ablated")
    )
    assert good["distance"]["largest"] < 1e-10 < 1e-8 < bad["distance"]["mean"]
    away = bad["distance"]["mean"]
    assert away >= finished[2]["encoders"]["ablated"]["random"]["distance"]["mean"]
    for found in (good, bad):
        assert found["methods"]["matching_best"]["recovered"] == 1
        assert found["methods"]["naive"]["recovered"] == 0
        assert found["methods"]["reconstruct"]["recovered"] is None
        assert found["methods"]["naive"]["own"]["start"] == 0
        assert found["methods"]["naive"]["own"]["end"] > 1e-6  # the noise


@pytest.mark.slow
def test_without_noise_twins_stay_twins(runs, tmp_path):
    methods = ("naive", "reconstruct")
    config = tiny({"a": runs["ScaleGMN"]}, methods=methods, num_networks=1)
    results = execute(config, tmp_path / "run")
    found = results["encoders"]["a"]["random"]
    assert found["pairs"] == [[0, 1]]
    assert found["methods"]["naive"]["own"]["end"] < 1e-8
    own = found["methods"]["reconstruct"]["own"]
    np.testing.assert_allclose(own["start"], own["end"], rtol=1e-3)
    assert own["barrier_se"] is None and text_of(results)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "fits"}, "family must name some of P, D, PD"),
        ({"methods": ()}, "methods must name some of naive"),
        ({"methods": ("naive", "naive")}, "each once"),
        ({"methods": ("best",)}, "methods must name some of naive"),
        ({"sigma": -1.0}, "sigma must be >= 0"),
        ({"sigma": float("nan")}, "sigma must be >= 0"),
        ({"num_twins": 1}, r"num_twins must lie in 2\.\.4096"),
        ({"num_points": 2}, "num_points must be >= 3"),
        ({"num_networks": 9}, "num_networks is 9, but .* holds out 8"),
        ({"images": {"source": "mnist"}}, r"images\.source='mnist'.* be ignored"),
    ],
)
def test_values_that_cannot_work_are_refused(runs, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        execute(tiny(runs, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classifiers_are_refused(tmp_path):
    path = encoders.save_zoo(tmp_path / "cnns.zoo", architecture=encoders.CNN)
    run = encoders.save_run(tmp_path / "cnn", path)
    with pytest.raises(ValueError, match="autoencoders of classifiers"):
        execute(tiny({"CNN": run}), tmp_path / "run")


def test_the_config_is_that_of_the_experiment():
    path = pathlib.Path(__file__).parents[2] / "launch" / "configs" / "failure_mode.py"
    assert harness.load_config_file(path) == failure_mode.default_config()
    assert registry.find_experiment("failure_mode").name == "failure_mode"
