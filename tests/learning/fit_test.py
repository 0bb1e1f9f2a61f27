"""Trainings end, resume to equal numbers, and refuse what cannot work."""

import dataclasses
import signal

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import (
    autoencoders,
    deep_align,
    files,
    learning,
    networks,
    training,
    zoo,
)
from tests.learning import small

DECODER = {"hidden_multipliers": (1,)}


def fit_inrs(folder, options, **changes):
    arguments = {"encoder": small.PROBE, "decoder": DECODER, **changes}
    return learning.fit_canonicalizer(
        small.make_zoo(small.SIREN), folder, options=options, **arguments
    )


def fit_classifiers(folder, options):
    return learning.fit_canonicalizer(
        small.make_zoo(small.MLP),
        folder,
        encoder=small.PROBE,
        decoder=DECODER,
        inputs=small.IMAGES,
        options=options,
    )


def fit_classes(folder, options):
    targets = np.arange(20) % 2
    return learning.fit_predictor(
        small.make_zoo(small.MLP), targets, folder, encoder=small.PROBE, options=options
    )


def fit_fractions(folder, options):
    targets = np.linspace(0, 1, 20, dtype=np.float32)
    return learning.fit_predictor(
        small.make_zoo(small.SIREN),
        targets,
        folder,
        encoder=small.PROBE,
        augment=True,
        val_fraction=0.2,
        options=options,
    )


def fit_pairs(folder, options):
    return learning.fit_matcher(
        small.make_zoo(small.SIREN),
        folder,
        features=small.FEATURES,
        val_fraction=0.2,
        options=options,
    )


FITS = {
    "inrs": (fit_inrs, "val_mse", symmerge_jax.load_canonicalizer),
    "classifiers": (fit_classifiers, "val_kl", symmerge_jax.load_canonicalizer),
    "classes": (fit_classes, "val_accuracy", learning.load_predictor),
    "fractions": (fit_fractions, "val_tau", learning.load_predictor),
    "matcher": (fit_pairs, "val_loss", deep_align.load_matcher),
}


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    times = {"seconds_per_step"}
    for name in a.metadata.keys() - times:
        assert a.metadata[name] == b.metadata[name], name


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "best", "load"), FITS.values(), ids=FITS)
def test_what_is_trained_can_be_loaded(tmp_path, fit, best, load):
    trained = fit(tmp_path, small.options())
    assert trained.metadata["num_steps"] == 4 and best in trained.metadata
    loaded = load(tmp_path)
    assert_same(loaded, trained)
    series = training.read_metrics(tmp_path / "metrics.jsonl")
    assert series["loss"].steps.tolist() == [1, 2, 3, 4]
    assert series[best.replace("_", "/", 1)].steps.tolist() == [2, 4]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inrs", "matcher"])
def test_a_training_that_was_stopped_resumes_to_the_same_numbers(
    tmp_path, name, monkeypatch
):
    fit, *_ = FITS[name]
    draw = zoo.batch_indices

    def stopping(seed, step, *sizes):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
        return draw(seed, step, *sizes)

    with monkeypatch.context() as patch:
        patch.setattr(zoo, "batch_indices", stopping)
        with pytest.raises(training.Interrupted, match="after step 4 of 6"):
            fit(tmp_path / "stopped", small.options(num_steps=6))
    if name == "inrs":  # what a folder holds is asked in one place for all
        with pytest.raises(ValueError, match="num_steps was 6 and is now 4"):
            fit(tmp_path / "stopped", small.options())
    resumed = fit(tmp_path / "stopped", small.options(num_steps=6, log_every=3))
    for _ in range(2 if name == "inrs" else 1):  # trained, then only read
        assert_same(resumed, fit(tmp_path / "whole", small.options(num_steps=6)))


@pytest.mark.slow
def test_a_folder_of_another_training_is_refused(tmp_path):
    fit_inrs(tmp_path, small.options())
    before = (tmp_path / "metrics.jsonl").read_bytes()
    for changes, message in (
        ({"options": small.options(seed=1)}, "seed was 0 and is now 1"),
        ({"encoder": {**small.PROBE, "width": 5}}, "encoder_options was .* 'width': 4"),
        ({"loss": "weights"}, "loss was 'function' and is now 'weights'"),
    ):
        arguments = {"options": small.options(), **changes}
        with pytest.raises(ValueError, match=f"another training: {message}"):
            fit_inrs(tmp_path, **arguments)
    other = small.make_zoo(small.SIREN, seed=1)
    with pytest.raises(ValueError, match="another training: statistics"):
        learning.fit_canonicalizer(
            other,
            tmp_path,
            encoder=small.PROBE,
            decoder=DECODER,
            options=small.options(),
        )
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_folder_that_another_process_works_in_is_refused(tmp_path, monkeypatch):
    def locked(path, works_on):
        raise ValueError(f"{works_on} is locked")

    monkeypatch.setattr(files, "lock", locked)
    with pytest.raises(ValueError, match="run is locked"):
        fit_inrs(tmp_path / "run", small.options())
    assert not (tmp_path / "run/metrics.jsonl").exists()


@pytest.mark.slow
def test_weights_may_be_compared_at_random_points(tmp_path):
    inrs = small.make_zoo(small.SIREN)
    parts = zoo.split(inrs, {"train": 0.8, "val": 0.2})
    grid = networks.coordinate_grid(3, 3)
    drawn = []
    for loss, num_points in (("weights", None), ("function", 4)):
        job = learning.rendering_job(
            inrs,
            parts,
            grid,
            encoder=small.PROBE,
            decoder=DECODER,
            loss=loss,
            num_points=num_points,
            augment=True,
            on_renderings=lambda *shown: drawn.append(shown),
        )
        trained = learning.fit(job, tmp_path / loss, small.options(num_steps=2))
        assert np.isfinite(trained.metadata["val_mse"])
    assert [step for step, *_ in drawn] == [2, 2]
    assert drawn[0][1].shape == drawn[0][2].shape == (4, 9, 1)
    with pytest.raises(ValueError, match=r"num_points is 10, it must lie in 1\.\.9"):
        learning.rendering_job(
            inrs, parts, grid, encoder=small.PROBE, decoder=DECODER, num_points=10
        )


def untrained(inrs, encoder):
    """A canonicaliser that nobody trained; nothing is compiled."""
    described = inrs.architecture, encoder, DECODER, zoo.statistics(inrs)
    model = autoencoders.build(*described)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: random.normal(scale=0.5, size=x.shape).astype(x.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    return autoencoders.Canonicalizer(*described, variables)


@pytest.mark.slow
def test_a_predictor_starts_from_the_encoder_of_an_autoencoder():
    inrs = small.make_zoo(small.SIREN)
    encoder = {"kind": "scale_gmn", "width": 4, "num_layers": 1, "dropout": 0.5}
    start = untrained(inrs, encoder)
    parts = zoo.split(inrs, {"train": 0.8, "val": 0.2})
    labels = np.arange(20) % 2
    job = learning.predictor_job(
        inrs, parts, labels, learning.classes(labels, parts), pretrained=start
    )
    variables = jax.jit(job.model.init)(jax.random.key(0))
    assert set(variables) == {"encoder", "head"}
    jax.tree.map(
        np.testing.assert_array_equal, variables["encoder"], start.variables["encoder"]
    )
    # Its dropout is its own: the loss depends on the key.
    batch = job.batches(0, 4)(0)
    loss = jax.jit(lambda key: job.loss_fn(variables, batch, key)[0])
    assert len({float(loss(jax.random.key(i))) for i in range(3)}) == 3
    with pytest.raises(ValueError, match="either an encoder or a pretrained"):
        learning.predictor_job(inrs, parts, labels, learning.classes(labels, parts))
    other = small.make_zoo({**small.SIREN, "w0": 10.0})
    with pytest.raises(ValueError, match=r"w0 is 10\.0, wanted 30\.0"):
        learning.predictor_job(
            other, parts, labels, learning.classes(labels, parts), pretrained=start
        )


@dataclasses.dataclass(frozen=True)
class Pair:
    sizes: tuple
    rate: float
    variables: object = None
    metadata: object = None

    @staticmethod
    def init(key):
        return {"w": jax.random.normal(key, (2,))}


def test_a_job_by_hand_is_recorded_with_its_checkpoints(tmp_path):
    job = learning.Job(
        untrained=Pair((2, 3), 0.1),
        model=Pair,
        loss_fn=lambda v, batch, key: ((v["w"] ** 2).sum() + batch.mean(), {}),
        num_examples=8,
        batches=lambda seed, size: lambda step: np.zeros((size, 1), np.float32),
        evaluator=lambda: lambda state: iter([("norm", float(state.step))]),
        best="val/norm",
        mode="max",
        settings={"goal": ["x", 1]},
    )
    trained = learning.fit(job, tmp_path, small.options())
    assert trained.sizes == (2, 3) and trained.variables["w"].shape == (2,)
    assert trained.metadata["best_step"] == 4 and trained.metadata["val_norm"] == 4.0
    record = training.load_metadata(tmp_path / "checkpoints/latest")["training"]
    assert (record["sizes"], record["rate"], record["goal"]) == ([2, 3], 0.1, ["x", 1])
    assert record["learning_rate"] == 2e-3 and "log_every" not in record
    close = job._replace(untrained=Pair((2, 3), 0.1 * (1 + 1e-9)))
    learning.fit(close, tmp_path, small.options())
    other = job._replace(untrained=Pair((2, 4), 0.1))
    with pytest.raises(ValueError, match=r"sizes was \[2, 3\] and is now \[2, 4\]"):
        learning.fit(other, tmp_path, small.options())
