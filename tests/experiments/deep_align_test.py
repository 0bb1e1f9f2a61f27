"""Runs of learned alignment, their files and numbers, and how they go on."""

import json
import runpy
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import harness
from experiments.compare import (
    _align_comparison,
    _align_evaluation,
    _align_methods,
    deep_align,
)
from experiments.populations import _align_population
from experiments.train import _align_training
from symmerge_jax import deep_align as deep_align_lib, learning, networks, symmetry
from tests.experiments import configs, populations as small

FILES = {
    *("cells", "config.json", "models", "results.json", "results.npz"),
    *("paths_held_out.pdf", "paths_held_out.png", "versions.json"),
    *("paths_rotated.pdf", "paths_rotated.png"),
}
METHODS = ("naive", "matching_best", "deep_align", "ours")


@pytest.fixture(scope="module")
def mlps(tmp_path_factory):
    return small.save_zoo(tmp_path_factory.mktemp("zoos") / "mlps.zoo", "mlp")


@pytest.fixture(scope="module")
def finished(mlps, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = small.config("mlp", mlps, methods=METHODS, rotated=True)
    config.models = ("deep_align", "ours")
    return config, workdir, deep_align.run(config, workdir)


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
    return -x[np.arange(len(x)), data["labels"]].mean()


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
        assert tuple(population["methods"]) == METHODS
        blocks = [method["block"] for method in population["methods"].values()]
        assert blocks == ["weights", "weights", "learned", "learned"]
        for name, method in population["methods"].items():
            assert method["barrier_std"] is None and 0 <= method["accuracy"] <= 1
            values = [method[key] for key in ("barrier", "auc", "middle")]
            assert np.isfinite(values).all()
            if name == "naive":
                assert method["function_error"] == method["seconds_per_pair"] == 0
            else:  # certified in float64
                assert 0 < method["function_error"] < 1e-6, name
                assert method["seconds_per_pair"] > 0
    for name, kind in _align_training.KINDS.items():
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
    population = _align_population.load(config, tmp_path)
    pairs = _align_population.draw_pairs(population, "test", 3, 0)
    a, b = (_align_population.pick(population.params, pairs[:, i]) for i in (0, 1))
    midpoint = jax.tree.map(lambda x, y: (np.float64(x) + y) / 2, a, b)
    expected = [
        [
            cross_entropy(_align_population.pick(x, row), population.test_data)
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
def test_the_table_has_a_block_for_what_methods_see(finished):
    _, _, results = finished
    lines = deep_align.table(results).splitlines()
    assert lines[0].startswith("deep_align: deep_weight_space, ")
    assert "2 steps on 12 networks; finds" in lines[1]
    assert lines[3] == "held-out networks: 1 x 3 pairs of 6 networks"
    assert [line[:9].strip() for line in lines[4:11]] == [
        "", "-- weight", "naive", "matching", "-- weight", "Deep-Alig", "ours"
    ]  # fmt: skip
    assert lines[7].startswith("matching P + scale, best start ")
    assert lines[8] == "-- weights only, learned on other networks"
    assert lines[12].startswith("images turned by 90 degrees: ")
    naive = results["populations"]["held_out"]["methods"]["naive"]
    assert f" {naive['barrier']:.4f} " in lines[6] and "±" not in "".join(lines)
    assert f" {100 * naive['accuracy']:.2f} " in lines[6]
    means = {f"{key}_std": 0.25 for key in ("barrier", "auc", "middle", "accuracy")}
    several = json.loads(json.dumps(results))
    several["populations"]["held_out"]["methods"]["naive"].update(means)
    line = deep_align.table(several).splitlines()[6]
    assert f"{naive['barrier']:.4f} ± 0.2500" in line and "± 25.00" in line


@pytest.mark.slow
def test_a_run_goes_on_with_what_is_missing(copy, monkeypatch):
    config, workdir, results = copy
    monkeypatch.setattr(learning, "fit", None)  # nothing is trained again
    known = {name: results["models"][name] for name in config.models}
    keys = ("twins", "changed_twins")
    found = iter([{key: known[name][key] for key in keys} for name in known] * 3)
    monkeypatch.setattr(_align_evaluation, "recovered", lambda *_: next(found))
    before = written(workdir)
    with monkeypatch.context() as patch:  # nothing is measured again
        patch.setattr(_align_methods, "make_solver", None)
        assert deep_align.run(config, workdir) == results
    [lost] = workdir.glob("cells/held_out_*/naive_0.npz")
    lost.unlink()
    config.methods = (*METHODS, "matching_p")
    more = deep_align.run(config, workdir)
    after = written(workdir)
    kept = [name for name in before if name.startswith(("cells/", "models/"))]
    changed = [name for name in kept if before[name] != after[name]]
    assert changed == [str(lost.relative_to(workdir))]
    added = sorted(name.partition("/")[2] for name in after.keys() - before.keys())
    assert [name.rpartition("/")[2] for name in added] == ["matching_p_0.npz"] * 2
    for name, population in results["populations"].items():
        methods = more["populations"][name]["methods"]
        assert "matching_p" in methods
        for method, numbers in population["methods"].items():
            assert methods[method] == numbers
    # With fewer methods what is left out stays in its files.
    change = ConfigDict({"methods": ("ours",), "rotated": False})
    harness.update_workdir(workdir, change, may_change=deep_align.MAY_CHANGE)
    fewer = deep_align.evaluate(workdir)
    assert list(fewer["populations"]) == ["held_out"]
    assert list(fewer["populations"]["held_out"]["methods"]) == ["ours"]
    assert written(workdir / "cells") == {
        name.removeprefix("cells/"): time
        for name, time in after.items()
        if name.startswith("cells/")
    }


@pytest.mark.parametrize("how", ["absent", "damaged"])
@pytest.mark.slow
def test_a_matcher_that_cannot_be_read_is_exported_and_not_trained(
    copy, monkeypatch, how
):
    config, workdir, _ = copy
    matcher = workdir / "models/ours_0/matcher"
    before = (matcher / "weights.safetensors").read_bytes()
    steps = (workdir / "models/ours_0/metrics.jsonl").read_text()
    if how == "absent":
        shutil.rmtree(matcher)
    else:
        (matcher / "weights.safetensors").write_bytes(before[:100])
    with pytest.raises((FileNotFoundError, ValueError), match="ours_0/matcher"):
        deep_align.evaluate(workdir)
    monkeypatch.setattr(_align_comparison, "compare", lambda *_: {"made": 1})
    assert deep_align.run(config, workdir) == {"made": 1}
    assert (matcher / "weights.safetensors").read_bytes() == before
    assert (workdir / "models/ours_0/metrics.jsonl").read_text() == steps
    config.ours.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"another config: ours\.learning_rate was"):
        deep_align.run(config, workdir)


@pytest.mark.slow
def test_each_population_counts_its_own_pairs(finished, mlps, tmp_path, monkeypatch):
    config, _, _ = finished
    config = config.copy_and_resolve_references()
    config.models, config.methods, config.rotated = ("ours",), ("naive",), False
    config.num_pairs, config.split.test_fraction = 10, 0.1  # 2 networks: one pair
    config.other_width.hidden_sizes = (5,)
    sizes = [64, 5, 10]
    other = small.save_zoo(tmp_path / "b.zoo", "mlp", 4, layer_sizes=sizes)
    config.other_width.zoo = other
    trained = deep_align_lib.load_matcher(finished[1] / "models/ours_0")
    monkeypatch.setattr(deep_align_lib, "load_matcher", lambda _: trained)
    numbers = {"twins": 1.0, "changed_twins": 0.5}
    monkeypatch.setattr(_align_evaluation, "recovered", lambda *_: numbers)
    results = deep_align.run(config, tmp_path / "run")
    counts = {
        name: (population["num_networks"], population["num_pairs"])
        for name, population in results["populations"].items()
    }
    assert counts == {"held_out": (2, 1), "other_width": (4, 6)}
    title = results["populations"]["other_width"]["title"]
    assert title == "networks of widths 5"


def test_numbers_are_means_over_seeds():
    curves = [
        {"loss": np.array([[1.0, 3, 1], [1, 2, 3]]), "error": np.full((2, 3), 0.25)},
        {"loss": np.array([[0.0, 4, 0], [0, 0, 2]]), "error": np.full((2, 3), 0.5)},
    ]
    found = _align_evaluation.summarize(curves)
    assert (found["barrier"], found["middle"]) == (1.5, 2.25)
    assert found["auc"] == pytest.approx((0.5 + 0.75) / 2)
    assert found["accuracy"] == 0.625
    assert found["barrier_std"] == pytest.approx(np.sqrt(0.5))
    assert found["middle_std"] == pytest.approx(np.sqrt(0.125))
    one = _align_evaluation.summarize([{"loss": curves[0]["loss"]}])
    assert one["barrier"] == 1 and one["barrier_std"] is None
    assert "accuracy" not in one


@pytest.mark.parametrize("sees", [True, False])
def test_neurons_of_twins_are_found_by_who_can_tell_them(sees, mlps, tmp_path):
    config = small.config("mlp", mlps)
    config.augment.noise = 10.0
    population = _align_population.load(config, tmp_path)

    def similarities(variables, a, b):
        del variables
        a, b = (x["dense_0"]["bias"] * sees for x in (a, b))
        return {"hidden_0": -((a[:, :, None] - b[:, None]) ** 2)}

    matcher = _align_training.make_matcher(config, "ours", population)
    matcher = matcher._replace(similarities=similarities)
    many = jax.tree.map(
        lambda x: np.tile(x, (4, *[1] * (x.ndim - 1))), population.params
    )
    found = _align_evaluation.recovered(config, matcher, {}, many)
    chance = 1 / 5
    assert found["changed_twins"] == pytest.approx(chance, abs=0.15)
    assert found["twins"] == (1.0 if sees else pytest.approx(chance, abs=0.1))


def test_methods_are_chosen_in_the_order_of_tables():
    choose = _align_methods.choose
    everything = choose((), ("deep_align", "ours"))
    assert set(everything) == set(_align_methods.METHODS)
    blocks = [_align_methods.METHODS[name].block for name in everything]
    assert blocks == sorted(blocks, key=list(_align_methods.BLOCKS).index)
    ours = choose((), ("ours",))
    assert set(everything) - set(ours) == {
        "deep_align", "deep_align_sweeps", "deep_align_best", "deep_align_sinkhorn"
    }  # fmt: skip
    assert choose(("sinkhorn", "ours", "naive"), ("ours",)) == (
        "naive", "ours", "sinkhorn"
    )  # fmt: skip
    for kind, group in (("mlp", "P + scale"), ("siren", "P + sign")):
        spec = networks.build(small.ARCHITECTURES[kind]).spec
        label = _align_methods.label_of("matching_best", spec)
        assert label == f"matching {group}, best start"


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
    wide = _align_population.load(config, tmp_path)
    seen = []

    def make_solver(config, name, matcher, network):
        del config, name, network
        seen.append(matcher)
        raise RuntimeError

    monkeypatch.setattr(_align_methods, "make_solver", make_solver)
    with pytest.raises(RuntimeError):
        _align_comparison._solver(config, "deep_align", trained, wide)
    expected = trained.aligner(architecture=wide.architecture).matcher
    few = _align_population.pick(wide.params, np.arange(2))
    for name, found in jax.jit(seen[0].similarities)(
        trained.variables, few, few
    ).items():
        wanted = jax.jit(expected.similarities)(trained.variables, few, few)[name]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert symmetry.flatten(few)[("dense_0", "bias")].shape == (2, 7)


@pytest.mark.parametrize(
    "file", sorted(configs.CONFIGS.glob("deep_align_*.py")), ids=str
)
def test_configs_know_their_variants(file):
    for variant in runpy.run_path(str(file))["VARIANTS"]:
        config = harness.load_config_file(f"{file}:{variant}")
        assert deep_align.check_config(config).experiment == "deep_align"
    with pytest.raises(ValueError, match="Variants are"):
        harness.load_config_file(f"{file}:huge")


@pytest.mark.slow
def test_every_method_aligns(mlps, tmp_path):
    config = small.config("mlp", mlps, methods=(), num_pairs=1)
    results = deep_align.run(config, tmp_path / "run")
    methods = results["populations"]["held_out"]["methods"]
    assert tuple(methods) == _align_methods.choose((), ("ours",))
    for name, method in methods.items():
        assert method["function_error"] < 1e-6, name
        assert np.isfinite(method["barrier"]), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "siren"])
def test_other_kinds_of_networks_are_aligned(kind, tmp_path):
    """Every method of ours; the population is made, and another one of other widths."""
    config = small.config(kind, None, methods=("naive", "ours", "ours_sinkhorn"))
    config.other_width.hidden_sizes = (5,)
    if kind == "siren":
        config.population.data.num_images = 24
        config.population.fits_per_image = 2
        config.population.architecture.hidden_sizes = (4,)
        config.population.fit.num_steps = 2
    else:
        config.population.num_networks, config.other_width.num_networks = 24, 4
        config.population.architecture.channels = (3,)
        config.population.training.num_steps = 2
    results = deep_align.run(config, tmp_path / "run")
    names = {path.name.partition("_")[0] for path in (tmp_path / "run").glob("*.zoo")}
    assert names == {"population.zoo", "other"}
    assert list(results["populations"]) == ["held_out", "other_width"]
    for population in results["populations"].values():
        assert population["num_pairs"] == 3
        for method in population["methods"].values():
            assert np.isfinite(method["barrier"])
            assert ("accuracy" in method) == (kind == "cnn")
    assert deep_align.table(results)
