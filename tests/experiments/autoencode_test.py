import json
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

import symmerge_jax
from experiments import harness
from experiments.train import autoencode
from symmerge_jax import autoencoders, learning, networks, plots, training, zoo
from tests.experiments import configs

FILES = {
    "canonicalizer",
    "checkpoints",
    "config.json",
    "curves.pdf",
    "curves.png",
    "inrs.zoo",
    "metrics.jsonl",
    "reconstructions.pdf",
    "reconstructions.png",
    "results.json",
    "results.npz",
    "versions.json",
}
TIMES = {"encoded_per_second", "seconds_per_step"}


def smoke_config(**changes):
    """The smoke config with an encoder of one layer, which compiles faster."""
    config = configs.load("smoke")
    config.architecture.hidden_sizes = (4,)
    config.encoder.num_layers = 1
    config.encoder.width = 4
    config.update_from_flattened_dict(changes)
    return config


def probe_config(**changes):
    """A run whose encoder compiles in no time: everything else is under test."""
    config = smoke_config()
    config.encoder.kind = "probe"
    config.encoder.num_layers = 4
    config.num_steps = 2
    config.warmup_steps = 0
    config.evaluate_every = config.checkpoint_every = 2
    config.update_from_flattened_dict(changes)
    return config


def run(config, workdir):
    return harness.run(autoencode.EXPERIMENT, config, workdir)


def changing_jobs(patch, change):
    """Let `change(job)` replace every training of an autoencoder."""
    make = learning.rendering_job
    patch.setattr(learning, "rendering_job", lambda *a, **k: change(make(*a, **k)))


def run_counted(config, workdir):
    """Run, and return config, workdir, results and what was seen meanwhile.

    That is how often the loss was traced, and the reconstructions that were drawn
    before there was a canonicaliser: labels, shapes of rows, and whether there was a
    figure before.
    """
    traces, drawn = [], []
    image_rows = plots.image_rows

    def noted(rows, labels, errors):
        if not (workdir / "canonicalizer").exists():
            written = (workdir / "reconstructions.png").exists()
            drawn.append((labels, [np.shape(row) for row in rows], written))
            assert len(errors) == 10
        return image_rows(rows, labels, errors)

    def counted(job):
        def traced(*inputs):
            traces.append(1)
            return job.loss_fn(*inputs)

        return job._replace(loss_fn=traced)

    with pytest.MonkeyPatch.context() as patch:
        changing_jobs(patch, counted)
        patch.setattr(plots, "image_rows", noted)
        results = run(config, workdir)
    return config, workdir, results, (len(traces), drawn)


ALL_STEPS = {"num_steps": 6, "evaluate_every": 3, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a probe encoder."""
    workdir = tmp_path_factory.mktemp("runs") / "probe"
    return run_counted(probe_config(**ALL_STEPS), workdir)


@pytest.fixture(scope="module")
def finished_gmn(tmp_path_factory):
    """A finished run of the smoke config, whose encoder takes long to compile.

    With its options of the loss: some of the points, and averaged parameters.
    """
    config = smoke_config()
    config.encoder.update(messages="linear", bidirectional=True)
    config.update(num_points=5, pixel_expansion=2, ema_decay=0.9)
    return run_counted(config, tmp_path_factory.mktemp("runs") / "smoke")


@pytest.fixture(params=["probe", pytest.param("gmn", marks=pytest.mark.slow)])
def any_finished(request):
    name = {"probe": "finished", "gmn": "finished_gmn"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run that a test may damage."""
    config, workdir, results, _ = finished
    return (
        config.copy_and_resolve_references(),
        pathlib.Path(shutil.copytree(workdir, tmp_path / "copy")),
        results,
    )


def variables_of(workdir):
    return symmerge_jax.load_canonicalizer(workdir).variables


def assert_same_results(a, b):
    assert a.keys() == b.keys()
    for name in a.keys() - TIMES:
        assert a[name] == b[name], name


@pytest.mark.slow
def test_a_run_writes_its_files_and_finite_results(any_finished):
    config, workdir, results, _ = any_finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    assert all(np.isfinite(value) for value in results.values())
    assert results.keys() >= TIMES | {
        "mse", "psnr", "mse_image", "mse_image_inr", "orbit_spread", "probe_latent",
        "probe_canonical", "probe_weights", "val_mse", "num_parameters",
        "mse_off_grid",
    }  # fmt: skip
    ablations = {name for name in results if name.startswith("mse_without")}
    only_probes = config.encoder.kind == "probe"
    both = {"mse_without_scale_gmn", "mse_without_probes"}
    assert ablations == ({"mse_without_probes"} if only_probes else both)
    assert results["num_steps"] == 6 and results["best_step"] in (3, 6)
    assert (results["num_train"], results["num_test"]) == (38, 13)
    assert results["orbit_spread"] < 1e-5 < results["between_networks"]
    series = training.read_metrics(workdir / "metrics.jsonl")
    assert series["loss"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert series["val/mse"].steps.tolist() == [3, 6]
    assert min(series["val/mse"].values) == results["val_mse"]
    assert max(series["val/orbit_spread"].values) < 1e-5
    text = harness.to_text(autoencode.EXPERIMENT.tables(results))
    assert "mse_without_X" in text and "orbit_spread" in text


@pytest.mark.slow
def test_reconstructions_are_drawn_while_it_trains(finished):
    *_, (_, drawn) = finished
    shapes = [(10, 8, 8)] * 2
    assert drawn == [
        (["original", f"step {k}"], shapes, k == 6)  # the first was written at once
        for k in (3, 6)
    ]


@pytest.mark.slow
def test_a_run_traces_its_train_step_once(any_finished):
    assert any_finished[-1][0] == 1


@pytest.mark.slow
def test_the_canonicalizer_of_a_workdir_works(finished):
    _, workdir, results, _ = finished
    canonicalizer = symmerge_jax.load_canonicalizer(workdir)
    inrs = zoo.load(workdir / "inrs.zoo")
    decoded = canonicalizer.reconstruct(inrs.params)
    network = networks.build(inrs.architecture)
    grid = networks.coordinate_grid(8, 8)
    errors = autoencoders.functional_loss(
        networks.render(network, decoded, grid),
        networks.render(network, inrs.params, grid),
    )
    assert np.mean(errors) == pytest.approx(results["mse"], rel=0.5)


@pytest.mark.slow
def test_evaluating_again_gives_the_same(copied):
    _, workdir, results = copied
    (workdir / "results.json").unlink()
    assert_same_results(harness.evaluate(autoencode.EXPERIMENT, workdir), results)
    assert_same_results(json.loads((workdir / "results.json").read_text()), results)


@pytest.mark.slow
def test_figures_are_drawn_again_from_stored_results(finished, tmp_path):
    results = finished[1] / "results.json"
    drawn = harness.draw(autoencode.EXPERIMENT, results, tmp_path)
    assert {path.name for path in drawn} == {"curves", "reconstructions"}
    assert (tmp_path / "reconstructions.png").stat().st_size > 0
    shutil.copy(results, tmp_path / "alone.json")  # without the arrays
    assert harness.draw(autoencode.EXPERIMENT, tmp_path / "alone.json", tmp_path) == []


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_end(copied):
    config, workdir, results = copied
    for step in training.checkpoint_steps(workdir / "checkpoints/latest"):
        if step > 3:
            shutil.rmtree(workdir / "checkpoints/latest" / str(step))
    for name in ("results.json", "curves.png"):
        (workdir / name).unlink()
    old = variables_of(workdir)
    shutil.rmtree(workdir / "canonicalizer")
    config.log_every = 2  # may change, the parameters may not
    assert_same_results(run(config, workdir), results)
    jax.tree.map(np.testing.assert_array_equal, old, variables_of(workdir))
    series = training.read_metrics(workdir / "metrics.jsonl")
    assert series["loss"].steps.tolist() == [1, 2, 3, 4, 6]
    assert series["val/mse"].steps.tolist() == [3, 6]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_with_the_remedy(copied):
    config, workdir, _ = copied
    latest = workdir / "checkpoints/latest/6"
    largest = max(latest.rglob("*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(
        ValueError,
        match=rf"{latest} is damaged: its file .*{largest.name} was cut off .*;"
        " delete this folder to resume from step 3",
    ):
        run(config, workdir)


@pytest.mark.slow
def test_a_damaged_canonicalizer_is_an_output_that_is_exported_again(copied):
    config, workdir, results = copied
    autoencode.EXPERIMENT.check_output(workdir)
    weights = workdir / "canonicalizer/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="canonicalizer' is damaged"):
        autoencode.EXPERIMENT.check_output(workdir)
    assert_same_results(run(config, workdir), results)
    autoencode.EXPERIMENT.check_output(workdir)


@pytest.mark.slow
def test_a_signal_saves_the_run_and_it_goes_on(finished, tmp_path, monkeypatch):
    """Stop after the fourth step, between two checkpoints."""
    config, _, whole, _ = finished

    def stopping(job):
        def batches(*arguments):
            batch_fn = job.batches(*arguments)

            def batch(step):
                if step == 3:
                    signal.raise_signal(signal.SIGTERM)
                return batch_fn(step)

            return batch

        return job._replace(batches=batches)

    with monkeypatch.context() as patch:
        changing_jobs(patch, stopping)
        with pytest.raises(training.Interrupted, match="after step 4 of 6"):
            run(config, tmp_path / "stopped")
    assert not (tmp_path / "stopped/results.json").exists()
    with pytest.raises(FileNotFoundError, match="No canonicaliser"):
        harness.evaluate(autoencode.EXPERIMENT, tmp_path / "stopped")
    assert_same_results(run(config, tmp_path / "stopped"), whole)


@pytest.mark.slow
def test_a_workdir_of_another_config_is_refused(copied):
    config, workdir, _ = copied
    before = (workdir / "metrics.jsonl").read_bytes()
    config.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"learning_rate was 0\.002 and is now 0\.5"):
        run(config, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 40}, "A batch of 40 is larger than the 38 networks"),
        ({"num_points": 65}, r"num_points is 65, it must lie in 1\.\.64"),
        ({"num_microbatches": 3}, "num_microbatches=3 does not divide"),
        ({"encoder.num_probes": 0}, "needs a module of weights, a probe, or both"),
        ({"decoder.head": "x"}, "head 'x' is not one of"),
        ({"test_fraction": 0.9}, "Fractions of a split"),
        ({"zoo": "nowhere.zoo"}, r"nowhere\.zoo"),
        (
            {"fit.stride": 2, "architecture.hidden_sizes": (5,)},
            r"hidden_sizes=\(5,\), fit\.stride=2 would be ignored with .*inrs\.zoo'",
        ),
    ],
)
@pytest.mark.slow
def test_values_that_do_not_fit_the_zoo_are_refused(
    tmp_path, finished, changes, message
):
    zoo_file = finished[1] / "inrs.zoo"
    config = probe_config(**{"zoo": str(zoo_file), **changes})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.slow
def test_options_of_the_loss_and_the_step_run(tmp_path, finished):
    changes = {"loss": "weights", "parallel": "pmap", "num_microbatches": 2}
    zoo_file = str(finished[1] / "inrs.zoo")
    results = run(probe_config(zoo=zoo_file, num_steps=1, **changes), tmp_path)
    assert "seconds_per_step" not in results  # there is no second step
    assert np.isfinite(list(results.values())).all()
    assert results["num_steps"] == 1
    assert not (tmp_path / "inrs.zoo").exists()
