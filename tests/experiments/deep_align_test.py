"""Runs of learned alignment, their files and numbers, and how they go on."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import harness
from experiments.compare import (
    _align_cells,
    _align_results,
    _methods,
    deep_align,
)
from experiments.populations import pairable
from experiments.train import matcher_training
from symmerge_jax import deep_align as deep_align_lib, learning, symmetry
from tests.experiments import populations as small

FILES = {
    *("cells", "config.json", "models", "results.json", "results.npz"),
    *("paths_held_out.pdf", "paths_held_out.png", "versions.json"),
    *("paths_rotated.pdf", "paths_rotated.png"),
}
METHODS = ("naive", "matching_best", "deep_align", "ours")
"""What the second population is aligned by."""

FIRST_METHODS = (*METHODS, "ours_sweeps", "ours_best", "ours_sinkhorn")
"""What the first one is; methods that need no matcher run in `methods_test`."""


@pytest.fixture(scope="module")
def mlps(tmp_path_factory):
    return small.save_zoo(tmp_path_factory.mktemp("zoos") / "mlps.zoo", "mlp")


@pytest.fixture(scope="module")
def finished(mlps, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = small.config("mlp", mlps, methods=FIRST_METHODS, rotated=True)
    config.models, config.other_methods = ("deep_align", "ours"), METHODS
    return config, workdir, small.run(config, workdir)


@pytest.fixture
def copy(finished, tmp_path):
    """The config and a copy of the finished run."""
    config, workdir, results = finished
    shutil.copytree(workdir, tmp_path / "copy")
    return config.copy_and_resolve_references(), tmp_path / "copy", results


def written(folder):
    """Return when each file was written, by its path in the folder."""
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_file()
    }


def cross_entropy(params, data):
    """Return the loss of one ReLU network in nats, by numpy in float64."""
    x = np.asarray(data["inputs"], np.float64)
    first, last = (params[f"dense_{i}"] for i in range(2))
    x = np.maximum(x @ first["kernel"] + first["bias"], 0) @ last["kernel"]
    x = x + last["bias"]
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return -x[np.arange(len(x)), data["targets"]].mean()


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(finished):
    _, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    assert results["seeds"] == [0] and results["num_train"] == 12
    assert results["architecture"]["layer_sizes"] == [64, 5, 10]
    assert list(results["populations"]) == ["held_out", "rotated"]
    for population in results["populations"].values():
        assert (population["num_networks"], population["num_pairs"]) == (6, 3)
        for name, method in population["methods"].items():
            assert method["barrier_std"] is None and 0 <= method["accuracy"] <= 1
            values = [method[key] for key in ("barrier", "auc", "middle")]
            assert np.isfinite(values).all()
            if name == "naive":
                assert method["function_error"] == method["seconds_per_pair"] == 0
            else:  # certified in float64
                assert 0 < method["function_error"] < 1e-6, name
                assert method["seconds_per_pair"] > 0
    held_out, rotated = (found["methods"] for found in results["populations"].values())
    assert (tuple(held_out), tuple(rotated)) == (FIRST_METHODS, METHODS)
    seen = [method["sees"] for method in rotated.values()]
    assert seen == ["weights", "weights", "learned", "learned"]
    for name, kind in matcher_training.KINDS.items():
        model = results["models"][name]
        trained = deep_align_lib.load_matcher(workdir / "models" / f"{name}_0")
        count = sum(np.size(x) for x in jax.tree.leaves(trained.variables))
        assert (model["features"], model["num_parameters"]) == (kind, count)
        assert 0 <= model["changed_twins"] <= 1 and 0 <= model["twins"] <= 1
        assert model["num_steps"] == model["best_step"] == 2
        assert model["val_loss"] == trained.metadata["val_loss"] > 0


@pytest.mark.slow
def test_curves_are_losses_between_the_networks_of_pairs(finished, mlps, tmp_path):
    config, workdir, results = finished
    population = small.load(config, tmp_path)
    pairs = pairable.draw_pairs(population, "test", 3, 0)
    a, b = (symmetry.rows(population.params, pairs[:, i]) for i in (0, 1))
    midpoint = jax.tree.map(lambda x, y: (np.float64(x) + y) / 2, a, b)
    expected = [
        [
            cross_entropy(symmetry.rows(x, row), population.task.test._asdict())
            for x in (a, midpoint, b)
        ]
        for row in range(3)
    ]
    with np.load(workdir / "results.npz") as arrays:
        curves = {
            (name, method): arrays[f"{name}/{method}/0/loss"]
            for name in results["populations"]
            for method in METHODS
        }
    naive = curves["held_out", "naive"]
    np.testing.assert_allclose(naive, expected, rtol=1e-5)
    # What networks and images share changes neither losses nor alignment.
    np.testing.assert_allclose(curves["rotated", "naive"], naive, rtol=1e-5)
    for (_, method), curve in curves.items():
        np.testing.assert_allclose(curve[:, [0, -1]], naive[:, [0, -1]], rtol=1e-5)
        if method != "naive":
            assert np.abs(curve[:, 1] - naive[:, 1]).max() > 1e-4
    psi = naive - naive[:, [0, -1]] @ np.array([[1, 0.5, 0], [0, 0.5, 1]])
    found = results["populations"]["held_out"]["methods"]["naive"]
    assert found["barrier"] == pytest.approx(psi.max(axis=1).mean(), abs=1e-6)
    assert found["auc"] == pytest.approx(psi[:, 1].mean() / 2, abs=1e-6)
    assert found["middle"] == pytest.approx(naive[:, 1].mean(), rel=1e-5)


@pytest.mark.slow
def test_tables_say_what_methods_see(finished):
    _, _, results = finished
    matchers, held_out, rotated = _align_results.tables(results)
    assert [row[:2] for row in matchers.rows] == [
        ("deep_align", "deep_weight_space"),
        ("ours", "probes"),
    ]
    assert held_out.caption == "held-out networks: 1 x 3 pairs of 6 networks"
    assert rotated.caption.startswith("images turned by 90 degrees: ")
    assert [row[:2] for row in rotated.rows] == [
        ("naive", "weights"),
        ("matching P + scale, best start", "weights"),
        ("Deep-Align", "learned"),
        ("ours", "learned"),
    ]
    naive = results["populations"]["held_out"]["methods"]["naive"]
    shown = harness.to_text([held_out])
    assert f" {naive['barrier']:.4f} " in shown and "±" not in shown
    assert f" {100 * naive['accuracy']:.2f} " in shown
    means = {f"{key}_std": 0.25 for key in ("barrier", "auc", "middle", "accuracy")}
    several = json.loads(json.dumps(results))
    several["populations"]["held_out"]["methods"]["naive"].update(means)
    shown = harness.to_text(_align_results.tables(several))
    assert f"{naive['barrier']:.4f} ± 0.2500" in shown and "± 25.00" in shown


@pytest.mark.slow
def test_a_run_goes_on_with_what_is_missing(copy, monkeypatch):
    config, workdir, results = copy
    monkeypatch.setattr(learning, "fit", None)  # nothing is trained again
    known = {name: results["models"][name] for name in config.models}
    keys = ("twins", "changed_twins")
    found = iter([{key: known[name][key] for key in keys} for name in known] * 3)
    monkeypatch.setattr(matcher_training, "recovered", lambda *_: next(found))
    before = written(workdir)
    with monkeypatch.context() as patch:  # nothing is measured again
        patch.setattr(_methods, "prepare", lambda *_: None)
        assert small.run(config, workdir) == results
    [lost] = workdir.glob("cells/held_out_*/naive_0.npz")
    lost.unlink()
    config.other_methods = (*METHODS, "matching_p")
    more = small.run(config, workdir)
    after = written(workdir)
    kept = [name for name in before if name.startswith(("cells/", "models/"))]
    changed = [name for name in kept if before[name] != after[name]]
    assert changed == [str(lost.relative_to(workdir))]
    added = sorted(name.partition("/")[2] for name in after.keys() - before.keys())
    assert [name.rpartition("/")[2] for name in added] == ["matching_p_0.npz"]
    for name, population in results["populations"].items():
        methods = more["populations"][name]["methods"]
        assert ("matching_p" in methods) == (name == "rotated")
        for method, numbers in population["methods"].items():
            assert methods[method] == numbers
    # With fewer methods what is left out stays in its files.
    change = ConfigDict({"methods": ("ours",), "rotated": False})
    fewer = harness.evaluate(deep_align.EXPERIMENT, workdir, change)
    assert list(fewer["populations"]) == ["held_out"]
    assert list(fewer["populations"]["held_out"]["methods"]) == ["ours"]
    assert written(workdir / "cells") == {
        name.removeprefix("cells/"): time
        for name, time in after.items()
        if name.startswith("cells/")
    }


@pytest.mark.slow
def test_a_matcher_that_cannot_be_read_is_exported_and_not_trained(copy, monkeypatch):
    config, workdir, results = copy
    found = {key: results["models"]["ours"][key] for key in ("twins", "changed_twins")}
    monkeypatch.setattr(matcher_training, "recovered", lambda *_: found)
    matcher = workdir / "models/ours_0/matcher"
    before = (matcher / "weights.safetensors").read_bytes()
    steps = (workdir / "models/ours_0/metrics.jsonl").read_text()
    (matcher / "weights.safetensors").write_bytes(before[:100])
    for error in (ValueError, FileNotFoundError):  # damaged, then absent
        with pytest.raises(error, match="ours_0/matcher"):
            harness.evaluate(deep_align.EXPERIMENT, workdir)
        with pytest.raises(error, match="ours_0/matcher"):
            deep_align.check_output(workdir)
        shutil.rmtree(matcher, ignore_errors=True)
    made = {"networks": "mlp", "num_points": 3, "populations": {}}
    monkeypatch.setattr(deep_align, "_compare", lambda *_: made)
    assert small.run(config, workdir) == made
    assert (matcher / "weights.safetensors").read_bytes() == before
    assert (workdir / "models/ours_0/metrics.jsonl").read_text() == steps
    config.ours.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"another config: ours\.learning_rate was"):
        small.run(config, workdir)


@pytest.mark.slow
def test_each_population_counts_its_own_pairs(finished, mlps, tmp_path, monkeypatch):
    config, _, _ = finished
    config = config.copy_and_resolve_references()
    config.models, config.methods, config.rotated = ("ours",), ("naive",), False
    config.other_methods = ()
    config.num_pairs, config.split.test_fraction = 10, 0.1  # 2 networks: one pair
    config.other_width.hidden_sizes = (5,)
    sizes = [64, 5, 10]
    other = small.save_zoo(tmp_path / "b.zoo", "mlp", 4, layer_sizes=sizes)
    config.other_width.zoo = other
    trained = deep_align_lib.load_matcher(finished[1] / "models/ours_0")
    monkeypatch.setattr(deep_align_lib, "load_matcher", lambda _: trained)
    numbers = {"twins": 1.0, "changed_twins": 0.5}
    monkeypatch.setattr(matcher_training, "recovered", lambda *_: numbers)
    results = small.run(config, tmp_path / "run")
    counts = {
        name: (population["num_networks"], population["num_pairs"])
        for name, population in results["populations"].items()
    }
    assert counts == {"held_out": (2, 1), "other_width": (4, 6)}
    title = results["populations"]["other_width"]["title"]
    assert title == "networks of widths 5"


@pytest.mark.slow
@pytest.mark.parametrize("sees", [True, False])
def test_neurons_of_twins_are_found_by_who_can_tell_them(sees, mlps, tmp_path):
    config = small.config("mlp", mlps)
    config.augment.noise = 10.0
    population, plan = (
        small.load(config, tmp_path),
        matcher_training.plan(config, "ours"),
    )

    def similarities(variables, a, b):
        del variables
        a, b = (x["dense_0"]["bias"] * sees for x in (a, b))
        return {"hidden_0": -((a[:, :, None] - b[:, None]) ** 2)}

    matcher = small.untrained(config, population)
    matcher = matcher._replace(similarities=similarities)
    many = jax.tree.map(
        lambda x: np.tile(x, (4, *[1] * (x.ndim - 1))), population.params
    )
    found = matcher_training.recovered(plan, matcher, {}, many)
    chance = 1 / 5
    assert found["changed_twins"] == pytest.approx(chance, abs=0.15)
    assert found["twins"] == (1.0 if sees else pytest.approx(chance, abs=0.1))


def test_methods_of_matchers_that_are_not_trained_are_omitted(mlps):
    chosen = {
        models: set(
            deep_align.plan(small.config("mlp", mlps, models=models)).methods[
                "held_out"
            ]
        )
        for models in (("ours",), ("deep_align", "ours"))
    }
    ours, everything = chosen.values()
    assert everything == set(deep_align.METHODS)
    assert everything - ours == {
        "deep_align", "deep_align_sweeps", "deep_align_best", "deep_align_sinkhorn"
    }  # fmt: skip


@pytest.mark.slow
def test_other_widths_are_compared_by_the_statistics_of_training(
    finished, mlps, tmp_path, monkeypatch
):
    """A matcher reads weights in units of the networks that it was trained on."""
    config, workdir, _ = finished
    trained = deep_align_lib.load_matcher(workdir / "models/deep_align_0")
    sizes = [64, 7, 10]
    config = config.copy_and_resolve_references()
    config.zoo = small.save_zoo(tmp_path / "wide.zoo", "mlp", layer_sizes=sizes)
    wide = small.load(config, tmp_path)
    seen = []

    def prepare(name, context):
        seen.append(context.matcher)
        raise RuntimeError(name)

    plan = deep_align.plan(config)
    monkeypatch.setattr(_methods, "prepare", prepare)
    solvers = _align_cells._Solvers(plan, {("deep_align", 0): trained})
    with pytest.raises(RuntimeError, match="deep_align"):
        solvers("deep_align", wide, np.array([[0, 1]]), 0)
    expected = trained.aligner(architecture=wide.zoo.architecture).matcher
    few = symmetry.rows(wide.params, np.arange(2))
    for name, found in jax.jit(seen[0].similarities)(
        trained.variables, few, few
    ).items():
        wanted = jax.jit(expected.similarities)(trained.variables, few, few)[name]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert symmetry.flatten(few)[("dense_0", "bias")].shape == (2, 7)
