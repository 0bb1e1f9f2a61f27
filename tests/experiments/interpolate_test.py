import json

import numpy as np
import pytest

from experiments import harness, populations
from experiments.compare import _methods, interpolate
from experiments.populations import make_zoo
from symmerge_jax import zoo
from tests.experiments import configs

FILES = {
    *("autoencoder", "cells", "config.json", "results.json", "results.npz"),
    *("versions.json", "noise.pdf", "noise.png", "paths_image.pdf", "paths_image.png"),
    *("paths_own.pdf", "paths_own.png"),
}
EXACT = {"matching_best", "closed_form", "template"}
DECODED = {"reconstruct", "latent"}


def smoke_config(name="orbit_interpolation", **changes):
    config = configs.load(name, "smoke")
    config.autoencoder.architecture.hidden_sizes = (6,)  # compiles faster
    config.update_from_flattened_dict(changes)
    return config


def execute(config, workdir):
    return harness.run(interpolate.EXPERIMENT, config, workdir)


def text_of(results):
    return harness.to_text(interpolate.EXPERIMENT.tables(results))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on one orbit, with an autoencoder of its own."""
    workdir = tmp_path_factory.mktemp("runs") / "orbit"
    config = smoke_config(families=("PD",), sigmas=(0.0, 0.02), sweep=(0.04,))
    return config, workdir, execute(config, workdir)


def cells_of(results, **wanted):
    return {
        cell["method"]: cell
        for cell in results["cells"]
        if all(cell[name] == value for name, value in wanted.items())
    }


@pytest.mark.slow
def test_a_run_writes_its_files(finished):
    config, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    assert len(list((workdir / "cells").iterdir())) == 27 == len(results["cells"])
    arrays = np.load(workdir / "results.npz")
    cell = np.load(workdir / "cells" / "PD_0.02_naive.npz")
    assert cell["image"].shape == (12, config.num_points)
    np.testing.assert_allclose(
        arrays["PD/0.02/naive/image/mean"], cell["image"].mean(axis=0), rtol=1e-5
    )
    assert arrays["lams"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    text = text_of(results)
    assert text.count("orbit, noise") == 3 and text.count("\n") >= 27


@pytest.mark.slow
def test_stored_results_draw_the_same_figures(finished, tmp_path):
    _, workdir, _ = finished
    drawn = harness.draw(interpolate.EXPERIMENT, workdir / "results.json", tmp_path)
    assert {path.name for path in drawn} == {"paths_image", "paths_own", "noise"}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (workdir / path.name).read_bytes()
    (tmp_path / "alone.json").write_text((workdir / "results.json").read_text())
    alone = harness.draw(interpolate.EXPERIMENT, tmp_path / "alone.json", tmp_path)
    assert [path.name for path in alone] == ["noise"]  # it needs no arrays


@pytest.mark.slow
def test_exact_methods_reach_the_exact_answer_of_twins(finished):
    cells = cells_of(finished[2], sigma=0.0)
    for name in EXACT:
        assert cells[name]["recovered"] == 1
        assert cells[name]["own"]["largest"] < 1e-10
        assert cells[name]["own"]["barrier"] < 1e-10
    assert cells["naive"]["recovered"] == 0
    assert cells["naive"]["own"]["barrier"] > 1e-4
    for name in DECODED:
        assert cells[name]["recovered"] is None
        assert cells[name]["own"]["barrier"] < 1e-5 < cells[name]["own"]["start"]


@pytest.mark.slow
def test_noise_is_seen_at_the_second_end_only(finished):
    clean, noisy = (cells_of(finished[2], sigma=sigma) for sigma in (0.0, 0.02))
    for name in cells_of(finished[2]).keys() - DECODED:
        for measure in ("own", "image"):
            starts = [cells[name][measure]["start"] for cells in (clean, noisy)]
            np.testing.assert_allclose(*starts, rtol=1e-5, atol=1e-10)
        assert noisy[name]["own"]["end"] > 1e-6
        ends = [noisy[method]["own"]["end"] for method in ("naive", name)]
        np.testing.assert_allclose(*ends, rtol=1e-3)  # moving keeps the function


@pytest.mark.slow
def test_a_run_goes_on_at_the_next_cell(finished, monkeypatch, caplog):
    config, workdir, results = finished
    (workdir / "cells" / "PD_0.02_naive.npz").unlink()
    (workdir / "cells" / "PD_0.02_latent.npz").unlink()
    damaged = workdir / "cells" / "PD_0_closed_form.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    prepare, done = _methods.prepare, []

    def noted(name, context):
        done.append(name)
        return prepare(name, context)

    monkeypatch.setattr(_methods, "prepare", noted)
    again = execute(config, workdir)
    assert "PD_0_closed_form.npz' is damaged" in caplog.text
    assert sorted(done) == ["closed_form", "latent", "naive"]
    for before, after in zip(results["cells"], again["cells"], strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}


@pytest.mark.slow
def test_separate_fits_use_the_canonicalizer_of_another_run(finished, tmp_path):
    config = smoke_config("independent_inrs", methods=("naive", "matching_best"))
    config.autoencoder = interpolate.default_config().autoencoder
    config.canonicalizer = str(finished[1] / "autoencoder")
    results = execute(config, tmp_path / "fits")
    cells = cells_of(results, family="fits")
    assert cells.keys() == {"naive", "matching_best"}
    assert cells["naive"]["recovered"] is None
    assert cells["naive"]["own"]["end"] > 1e-6  # no twins
    assert {path.name for path in (tmp_path / "fits").iterdir()} == FILES - {
        *("autoencoder", "noise.pdf", "noise.png")
    }
    config.autoencoder.num_steps = 1
    with pytest.raises(ValueError, match=r"autoencoder\.num_steps=1 would be ignored"):
        execute(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_several_autoencoders_decode_the_same_pairs(finished, tmp_path):
    own = finished[1] / "autoencoder"
    config = smoke_config(families=("PD",), sigmas=(0.02,), sweep=())
    config.autoencoder = interpolate.default_config().autoencoder
    config.methods = ("naive", "latent")
    config.canonicalizer = str(own)
    config.canonicalizers = {"Second one": str(own), "first": str(own)}
    results = execute(config, tmp_path / "run")
    labels = ["naive", "decoded latents (Second one)", "decoded latents (first)"]
    assert [cell["label"] for cell in results["cells"]] == labels
    assert [cell.get("encoder") for cell in results["cells"][1:]] == [
        *("Second one", "first")
    ]
    alone = cells_of(finished[2], sigma=0.02)["latent"]
    for cell in results["cells"][1:]:
        np.testing.assert_allclose(cell["own"]["end"], alone["own"]["end"], rtol=1e-5)
    assert (tmp_path / "run/cells/PD_0.02_latent_second_one.npz").exists()
    config.canonicalizer = None
    with pytest.raises(ValueError, match=r"config\.canonicalizer holds out: give it"):
        execute(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("best",)}, "methods must name some of naive"),
        ({"methods": ()}, "methods must name some of naive"),
        (
            {"sigmas": (0.1, 0.1)},
            "sigmas must name at least one noise level, each once",
        ),
        ({"families": ("Q",)}, "families must name some of P, D, PD, fits, each once"),
        ({"sigmas": (-1.0,)}, "must be >= 0"),
        ({"sweep": (float("inf"),)}, "must be >= 0"),
        ({"sigmas": (float("nan"),)}, "must be >= 0"),
        ({"num_networks": 1}, "num_networks must be >= 2"),
        ({"num_members": 1}, "num_members must be >= 2"),
        ({"num_points": 2}, "num_points must be >= 3"),
        ({"num_random_starts": -1}, "num_random_starts must be >= 0"),
        ({"canonicalizer": "nowhere"}, "No canonicaliser in 'nowhere'"),
    ],
)
def test_values_that_cannot_work_are_refused(changes, message, tmp_path):
    config = interpolate.default_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        execute(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_come_from_their_source_where_the_zoo_has_none(data_dir):
    inrs = zoo.select(zoo.import_dws(data_dir / "mnist_inrs"), np.arange(2))
    config = interpolate.default_config()

    def find_images(inrs, size):
        return populations.find_images(config, interpolate.default_config(), inrs, size)

    assert find_images(inrs, (28, 28)) is None
    config.images.source, config.images.dir = "mnist", str(data_dir)
    images = find_images(inrs, (28, 28))
    expected = zoo.load_images("mnist", "test", data_dir).images[3665] / np.float32(255)
    np.testing.assert_array_equal(images, [expected] * 2)
    with pytest.raises(ValueError, match=r"\(28, 28\) pixels, the networks render"):
        find_images(inrs, (8, 8))
    made = make_zoo.plan(make_zoo.default_config())
    with pytest.raises(ValueError, match=r"images\.source='mnist'.* would be ignored"):
        find_images(zoo.select(made, np.arange(2)), (8, 8))


def test_the_autoencoder_that_is_made_is_that_of_the_digits():
    made = interpolate.default_config().autoencoder
    assert made.to_dict() == configs.load("digits_inr", "probes").to_dict()


@pytest.mark.parametrize("name", ["orbit_interpolation", "independent_inrs"])
def test_configs_know_their_variants(name):
    assert configs.load(name).num_points == 40
    with pytest.raises(ValueError, match="Variants are"):
        configs.load(name, "huge")
