import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest
import threadpoolctl

from experiments import harness
from experiments.latents import _maps, _numbers, map_latents
from tests.experiments import encoders

FILES = {
    *("config.json", "distances.pdf", "distances.png", "latents", "maps", "maps.pdf"),
    *("maps.png", "numbers", "orbits.pdf", "orbits.png", "results.json", "results.npz"),
    "versions.json",
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Let no threads wait for each other."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return encoders.save_two_runs(tmp_path_factory.mktemp("runs"))


def tiny(canonicalizers, **changes):
    config = map_latents.default_config()
    config.canonicalizers = canonicalizers
    config.num_orbits, config.num_twins, config.num_neighbors = 2, 6, 1
    config.batch_size = 4  # one shape to compile for
    config.update(changes)
    return config


def execute(config, workdir):
    return harness.run(map_latents.EXPERIMENT, config, workdir)


def text_of(results):
    return harness.to_text(map_latents.EXPERIMENT.tables(results))


@pytest.fixture(scope="module")
def finished(runs, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("maps") / "run"
    config = tiny(runs, families=("PD", "P"))
    return config, workdir, execute(config, workdir)


@pytest.mark.slow
def test_a_run_writes_its_files(finished, runs):
    _, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    assert results["encoders"]["ScaleGMN"]["workdir"] == runs["ScaleGMN"]
    assert results["encoders"]["ScaleGMN"]["error"] == 0.25
    assert (results["num_networks"], results["values"]) == (8, "class")
    arrays = np.load(workdir / "latents" / "scalegmn.npz")
    assert arrays["PD"].shape[:2] == (2, 6) and len(arrays["train"]) == 8
    drawn = np.load(workdir / "maps" / "tsne_ablated.npz")
    assert drawn["points"].shape == (8, 2) and drawn["orbit"].shape == (6, 2)


@pytest.mark.slow
def test_stored_results_draw_the_same_figures(finished, tmp_path):
    _, workdir, _ = finished
    drawn = harness.draw(map_latents.EXPERIMENT, workdir / "results.json", tmp_path)
    assert {path.name for path in drawn} == {"distances", "maps", "orbits"}
    for path in drawn:
        before, after = (
            (f / f"{path.name}.png").read_bytes() for f in (workdir, tmp_path)
        )
        assert before == after


@pytest.mark.slow
def test_numbers_tell_invariant_encoders_from_others(finished):
    encoders_, baselines = (finished[2][key] for key in ("encoders", "baselines"))
    for family in ("PD", "P"):
        good = encoders_["ScaleGMN"]["orbits"][family]
        assert good["spread"] < 1e-5 and good["ratio"] < 1e-5 and good["found"] == 1
        assert good["two_parts"] is None
        assert baselines["closed form"]["orbits"][family]["found"] == 1
        raw = baselines["raw weights"]["orbits"][family]
        assert raw["spread"] > 0.1 and raw["ratio"] > 0.1 and raw["found"] < 1
    bad = encoders_["ablated"]["orbits"]
    assert bad["PD"]["spread"] > 1e-4 and 0 < bad["PD"]["smaller_part"] <= 0.5
    assert bad["P"]["spread"] < 1e-5  # it is invariant to permutations


@pytest.mark.slow
def test_the_orbit_that_is_one_point_lies_on_its_network(finished):
    config, workdir, _ = finished
    row = np.random.default_rng(config.seed).choice(8, 2, replace=False)
    found = np.load(workdir / "maps" / "tsne_scalegmn.npz")
    np.testing.assert_array_equal(found["orbit"], [found["points"][row[0]]] * 6)
    torn = np.load(workdir / "maps" / "tsne_ablated.npz")["orbit"]
    assert np.ptp(torn, axis=0).max() > 0


@pytest.mark.slow
def test_the_table_has_a_row_for_each_encoder(finished):
    text = text_of(finished[2])
    assert text.count("ScaleGMN") == text.count("raw weights") == 3
    assert "PD orbits of 2 networks, 6 twins each" in text
    assert "1-NN %" in text and "0.2500" in text


@pytest.mark.slow
def test_a_run_goes_on_and_may_get_other_maps(finished):
    config, workdir, results = finished
    before = (workdir / "latents" / "ablated.npz").stat().st_mtime_ns
    (workdir / "maps" / "tsne_ablated.npz").unlink()
    assert execute(config, workdir) == results
    assert (workdir / "latents" / "ablated.npz").stat().st_mtime_ns == before
    assert (workdir / "maps" / "tsne_ablated.npz").exists()
    without = execute(tiny(config.canonicalizers, **{
        "families": ("PD", "P"), "maps": ()
    }), workdir)  # fmt: skip
    assert without == results
    with pytest.raises(ValueError, match="num_twins was 6 and is now 7"):
        execute(tiny(config.canonicalizers, num_twins=7), workdir)


@pytest.mark.slow
def test_classifiers_are_read_for_their_accuracy(tmp_path):
    path = encoders.save_zoo(tmp_path / "cnns.zoo", architecture=encoders.CNN)
    run = encoders.save_run(tmp_path / "cnn", path)
    (tmp_path / "cnn" / "results.json").write_text('{"test_kl": 0.5}')
    results = execute(tiny({"CNN": run}), tmp_path / "run")
    assert results["values"] == "accuracy"
    assert results["encoders"]["CNN"]["error"] == 0.5
    assert -1 <= results["encoders"]["CNN"]["linear"] <= 1
    assert results["encoders"]["CNN"]["orbits"]["PD"]["spread"] < 1e-5
    assert "1-NN tau" in text_of(results)


@pytest.mark.slow
def test_networks_without_labels_are_mapped_all_the_same(tmp_path):
    path = encoders.save_zoo(tmp_path / "inrs.zoo", labels=False)
    run = encoders.save_run(tmp_path / "inr", path)
    results = execute(tiny({"a": run}, maps=()), tmp_path / "run")
    assert results["values"] is None and results["encoders"]["a"]["linear"] is None
    assert not (tmp_path / "run" / "maps.png").exists()
    assert text_of(results)


def break_run(runs, tmp_path, name):
    """Return the runs, with a copy of "ablated" from which something was removed."""
    shutil.copytree(runs["ablated"], tmp_path / "broken")
    target = tmp_path / "broken" / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return {**runs, "broken": str(tmp_path / "broken")}


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("canonicalizer", "'broken' in .* has not finished: there is no canonicalizer"),
        ("results.json", r"'broken' in .* has not finished: there is no results\.json"),
        ("config.json", r"'broken' in .* is not a run: there is no config\.json"),
    ],
)
def test_unfinished_runs_are_named(runs, tmp_path, lost, message):
    with pytest.raises(FileNotFoundError, match=message):
        execute(
            tiny(break_run(runs, tmp_path, lost)),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_runs_on_other_networks_are_refused(runs, tmp_path):
    def refuse(run, message):
        with pytest.raises(ValueError, match=message):
            execute(
                tiny({"a": runs["ScaleGMN"], "b": run}),
                tmp_path / "run",
            )
        assert not (tmp_path / "run").exists()

    other = {"kind": "siren", "layer_sizes": [2, 3, 1]}
    path = encoders.save_zoo(tmp_path / "other.zoo", architecture=other)
    run = encoders.save_run(tmp_path / "other", path)
    refuse(run, r"'b' in .*other' was not trained on the networks of 'a' in .*gmn'.*3")
    path = encoders.save_zoo(tmp_path / "seed.zoo", seed=1)
    run = encoders.save_run(tmp_path / "seed", path)
    refuse(run, "'b' in .*seed' holds out other networks than 'a' in")
    same = harness.load_config(pathlib.Path(runs["ScaleGMN"]) / "config.json").zoo
    run = encoders.save_run(tmp_path / "split", same, seed=1)
    refuse(run, "'b' in .*split' holds out other networks than 'a' in")
    harness.save_config(
        tmp_path / "split" / "config.json", map_latents.default_config()
    )
    refuse(run, "'b' in .* is a run of 'map_latents', which trains no autoencoder")
    shutil.copytree(runs["ScaleGMN"], tmp_path / "lost")
    config = harness.load_config(tmp_path / "lost" / "config.json")
    config.zoo = "gone.zoo"
    harness.save_config(tmp_path / "lost" / "config.json", config)
    with pytest.raises(FileNotFoundError, match=r"lost its networks: .* 'gone\.zoo'"):
        execute(
            tiny({"a": str(tmp_path / "lost")}),
            tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "names no run of an autoencoder"),
        (("Scale GMN", "scale_gmn"), "'scale_gmn', which clashes with 'Scale GMN'"),
        (("Raw weights",), "'Raw weights', which clashes with 'raw weights'"),
        (("?",), "has the name '[?]': choose another"),
    ],
)
def test_names_that_clash_are_refused(runs, names, message, tmp_path):
    given = {name: runs["ScaleGMN"] for name in names}
    with pytest.raises(ValueError, match=message):
        execute(tiny(given), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": ("pca",)}, "maps must name some of tsne, umap, each once"),
        ({"maps": ("tsne", "tsne")}, "each once"),
        ({"families": ()}, "families must name some of P, D, PD, each once"),
        ({"families": ("fits",)}, "families must name some of P, D, PD"),
        ({"num_twins": 2}, r"num_twins must lie in 3\.\.4096"),
        ({"num_twins": 5000}, r"num_twins must lie in 3\.\.4096"),
        ({"num_neighbors": 0}, "num_neighbors must be >= 1"),
        ({"num_networks": 100}, r"num_networks must lie in 4\.\.8"),
        ({"num_orbits": 9}, r"num_networks must lie in 9\.\.8"),
    ],
)
def test_values_that_cannot_work_are_refused(runs, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        execute(tiny(runs, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named_before_any_work(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(_maps.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'symmerge_jax\[umap\]'"):
        execute(
            tiny({"a": "nowhere"}, maps=("umap",)),
            tmp_path / "run",
        )


@pytest.mark.slow
def test_umap_places_twins_into_the_map_of_the_networks():
    if importlib.util.find_spec("umap") is None:  # importorskip would import it, loudly
        pytest.skip("needs the extra umap")
    random = np.random.default_rng(0)
    centres = np.repeat(10 * np.eye(3), 20, axis=0)
    latents = centres + random.normal(size=(60, 3))
    orbit = latents[[0, 40]].repeat(5, axis=0)
    found = _maps.lay_out("umap", latents, orbit, 0, 0)
    near = np.linalg.norm(found.orbit[:, None] - found.points[None], axis=2).argmin(1)
    assert (near[:5] < 20).all() and (near[5:] >= 40).all()
    np.testing.assert_array_equal(found.with_orbit, found.points)
    again = _maps.lay_out("umap", latents, orbit, 0, 0)
    np.testing.assert_array_equal(found.points, again.points)


def test_distances_show_no_rounding_where_twins_agree():
    x = np.float64([[1e4, 1e4], [1e4, 1e4 + 1e-9], [1e4, 1e4]])
    np.testing.assert_allclose(_numbers.mean_distance(x), 2e-9 / 3, rtol=0.1)
    assert _numbers.mean_distance(x[[0, 0, 0]]) == 0
    first, second, far = _numbers.farthest_pair(
        np.array([[1, 0], [2, 0], [3, 1e-6], [5, 1e-9]])
    )
    assert (first, second) in {(0, 2), (1, 2)}
    np.testing.assert_allclose(far, (1e-6 / 3) ** 2 / 2, rtol=1e-6)


def test_an_orbit_that_is_torn_in_two_shows_in_the_numbers():
    random = np.random.default_rng(0)
    networks = random.normal(size=(9, 8))
    cloud = networks[0] + 0.01 * random.normal(size=(40, 8))
    torn = cloud + np.where(np.arange(40) < 10, 1.0, 0.0)[:, None]
    both = [
        _numbers.orbit_numbers(orbit[None], networks, np.array([0]))
        for orbit in (cloud, torn)
    ]
    assert both[0]["two_parts"] < 0.3 and both[0]["found"] == 1
    assert both[1]["two_parts"] > 0.9 and both[1]["smaller_part"] == 0.25
    assert both[1]["ratio"] > 5 * both[0]["ratio"]


def test_configs_know_their_variants():
    path = pathlib.Path(__file__).parents[2] / "launch" / "configs" / "latent_maps.py"
    load = harness.load_config_file
    assert load(path) == map_latents.default_config()
    assert load(f"{path}:umap").maps == ("tsne", "umap")
    with pytest.raises(ValueError, match="Variants are"):
        load(f"{path}:pca")
