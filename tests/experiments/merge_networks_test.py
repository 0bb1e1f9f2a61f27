import json

import jax
import numpy as np
import pytest

from experiments import harness
from experiments.compare import repairs
from experiments.populations import (
    _population,
    flax_classifiers,
    flax_networks,
    flax_training,
    splice_sites,
)
from experiments.real import _bring, _lab, merge_networks
from symmerge_jax import files, trace
from tests.experiments import configs

FILES = {
    *("cells", "checkpoints", "config.json", "metrics", "networks", "paths.pdf"),
    *("paths.png", "results.json", "results.npz", "versions.json"),
}


def tiny(**changes):
    config = configs.load("merge_networks", "smoke")
    config.width = 0.1
    config.data.num_train = 60
    config.training.num_steps = 4
    config.update_from_flattened_dict(changes)
    return config


def run(config, workdir):
    return harness.run(merge_networks.EXPERIMENT, config, workdir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = tiny(num_groups=2, methods=("naive",), **{"path.methods": ("naive",)})
    return config, workdir, run(config, workdir)


@pytest.mark.slow
def test_a_run_leaves_results_and_paths(finished):
    _, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    assert [network["name"] for network in results["networks"]] == [
        f"seed {number}" for number in range(4)
    ]
    found = results["sizes"]["2"]
    assert found["ensemble"]["to_ensemble"]["mean"] == 0
    np.testing.assert_allclose(
        found["parents"]["none"]["accuracy"]["mean"],
        np.mean([network["accuracy"]["mean"] for network in results["networks"]]),
    )
    assert set(found["methods"]["naive"]["columns"]) == {"none", "statistics"}
    with np.load(workdir / "results.npz") as arrays:
        curve = arrays["naive/statistics/accuracy"]
        middle = arrays["naive/statistics/loss"][1]
    partial = results["partial"]["naive"]
    sizes = [cell["size"] for cell in partial]
    assert sizes[0] == 1 and sizes == sorted(set(sizes))
    np.testing.assert_allclose(partial[0]["loss"]["mean"], middle, rtol=1e-5)
    again = [network["statistics"]["accuracy"] for network in results["networks"]]
    np.testing.assert_allclose(curve[[0, -1]], [x["mean"] for x in again[:2]])


@pytest.mark.slow
def test_a_finished_run_is_kept_and_takes_further_methods(finished, monkeypatch):
    config, workdir, results = finished
    with monkeypatch.context() as patch:
        patch.setattr(_lab.Lab, "_outputs", None)
        patch.setattr(flax_training, "_train_one", None)
        assert run(config, workdir) == results
    more = config.copy_and_resolve_references()
    more.methods = ("naive", "published")
    more.repairs = ("none",)
    found = run(more, workdir)["sizes"]["2"]["methods"]
    assert list(found) == ["naive", "published"]
    columns = results["sizes"]["2"]["methods"]["naive"]["columns"]
    assert found["naive"]["columns"] == {"none": columns["none"]}
    more.training.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"another config: training\.learning_rate"):
        run(more, workdir)


@pytest.mark.slow
def test_tables_have_a_row_for_each_method_and_the_references(finished):
    _, _, results = finished
    tables = merge_networks.EXPERIMENT.tables(results)
    alone, accuracy, loss, distances, partial = tables
    assert partial.columns[:2] == ("method", "0% (1.00 x)")
    assert len(alone.rows) == 4
    assert [row[0] for row in accuracy.rows] == ["(parents)", "(ensemble)", "naive"]
    assert [row[0] for row in loss.rows] == ["(parents)", "(ensemble)", "naive"]
    assert accuracy.columns == ("method", "sees", "none", "statistics", "s")
    assert "2 groups; errors are those over groups" in accuracy.caption
    assert [row[:2] for row in distances.rows][1:] == [
        ["naive", "none"],
        ["naive", "statistics"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),  # the others bring each network to the first one, as in a pair
    [*((name, 3) for name in _bring.METHODS), ("published", 2), ("ours", 2)],
)
def test_methods_bring_twins_together(name, size, key):
    module = flax_classifiers.NarrowMlp(0.05)
    x = np.asarray(jax.random.normal(key, (40, 4, 4, 1)))
    params = module.init(key, x)
    layers = params["params"]
    random = np.random.default_rng(0)
    twins = [params]
    for _ in range(size - 1):
        moved = {name: dict(layer) for name, layer in layers.items()}
        for index in range(3):
            order = random.permutation(layers[f"Dense_{index}"]["kernel"].shape[1])
            for number, axis in ((index, 1), (index + 1, 0)):
                kernel = moved[f"Dense_{number}"]["kernel"]
                moved[f"Dense_{number}"]["kernel"] = np.take(
                    np.asarray(kernel), order, axis
                )
        twins.append({"params": moved})
    network = trace(module.apply, params, x)
    crowd = _bring.Crowd(twins, network, x, x[:2], 20, key)
    aligned, seconds = _bring.bring(name, crowd)
    assert seconds > 0
    for row in range(size):
        one = jax.tree.map(lambda leaf, r=row: leaf[r], aligned)
        np.testing.assert_allclose(
            network.apply(one, x), network.apply(params, x), atol=1e-4
        )
    # Three twins of a published search from the identity may stay apart.
    if name not in ("naive", "published"):
        merged = network.apply(_bring.mean(aligned), x)
        np.testing.assert_allclose(merged, network.apply(params, x), atol=1e-4)


@pytest.mark.slow
def test_inputs_may_be_made_of_the_networks():
    plan = merge_networks.plan(tiny(**{"data.unlabelled": "synthetic"}))
    module, start = plan.subject.wider(0.0), plan.subject.unlabelled
    params = [flax_training.initial(module, seed, start) for seed in (0, 1)]
    found = _lab.Lab(plan, params)._inputs((0, 1))
    assert found.shape == start.shape == (20, 8, 8, 1)
    assert 0 <= start.min() < start.max() <= 1 and np.abs(found - start).max() > 0.1


def test_inputs_may_be_smooth_noise():
    found = merge_networks.plan(tiny(**{"data.unlabelled": "smooth"})).subject
    noise = found.unlabelled
    assert not found.is_synthetic and noise.shape == (20, 8, 8, 1)
    assert noise.min() == 0 and noise.max() == 1
    steps = np.abs(noise - np.roll(noise, 1, axis=1)).mean()
    assert steps < np.abs(noise - np.roll(noise, 4, axis=1)).mean()


def test_training_resumes_bit_for_bit(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    examples = _population.Examples(
        random.random((30, 4, 4, 1), np.float32), random.integers(0, 10, 30)
    )
    plan = flax_training.Training(
        module=flax_classifiers.SmallBatchNorm(0.1),
        examples=examples,
        recipe=flax_training.Recipe(num_steps=4, batch_size=8, flip=True, shift=1),
        seeds=(3,),
        checkpoint_every=1,
    )
    [wanted] = flax_training.train(plan, tmp_path / "whole")
    batch_of = flax_training.batch_of

    def stopping(*arguments):
        batch = batch_of(*arguments)

        def stop(step):
            if step == 2:
                raise KeyboardInterrupt
            return batch(step)

        return stop

    monkeypatch.setattr(flax_training, "batch_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        flax_training.train(plan, tmp_path / "parts")
    assert not (tmp_path / "parts" / "networks").exists()
    monkeypatch.undo()
    [found] = flax_training.train(plan, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("family", flax_networks.FAMILIES)
def test_every_family_is_traced(family):
    for norm in flax_networks.FAMILIES[family].norms:
        module = flax_networks.FAMILIES[family].build(0.125, norm)
        x = np.zeros((2, 8, 8, 1), np.float32)
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)
        params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
        network = trace(module.apply, params, x)
        moved = [space.name for space in network.spec.matched_spaces]
        layers = [path for path, axes in network.spec.axes if path[-1] == "kernel"]
        assert len(layers) > len(moved) > 0
        if family == "resnet20":  # a stream per stage, and one space in every block
            assert len(moved) == 3 + 9


@pytest.fixture
def splice(tmp_path, monkeypatch):
    """Three checkpoints and windows of the right format, with random numbers."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "openspliceai"
    folder.mkdir(parents=True)
    checkpoints = {}
    for name in "abc":
        (tmp_path / f"{name}.pt").touch()
        tensors = {
            key: np.abs(random.normal(size=shape)).astype(np.float32) / 9
            for key, shape in splice_sites.shapes().items()
        }
        counter = {"residual_units.0.batchnorm1.num_batches_tracked": np.array(7)}
        checkpoints[f"{name}.pt"] = {**tensors, **counter}
    monkeypatch.setattr(
        files,
        "load_torch_state_dict",
        lambda file: checkpoints[file.rpartition("/")[2]],
    )
    classes = random.integers(0, 3, (2, 50))
    windows = random.integers(0, 5, (5, 450))
    np.savez(folder / "windows.npz", background=windows[:3], x=windows[3:], y=classes)
    config = merge_networks.default_config()
    config.family, config.partial.methods = "splice", ()
    config.files = tuple(f"{tmp_path}/{name}.pt" for name in "abc")
    config.data.dir = str(tmp_path / "data")
    config.methods = ("naive",)
    config.repairs, config.closed_forms = ("none",), ()
    config.path.methods = ()
    return config, checkpoints


@pytest.mark.slow
def test_any_number_of_checkpoints_is_merged(splice, tmp_path):
    config, _ = splice
    results = run(config, tmp_path / "run")
    assert [network["name"] for network in results["networks"]] == ["a", "b", "c"]
    assert list(results["sizes"]) == ["3"]
    assert len(results["sizes"]["3"]["ensemble"]["to_parents"]) == 3
    assert results["score_name"] == "top-1"
    assert "path" not in results


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "resnet50"}, r"family is 'resnet50', known are resnet20"),
        ({"methods": ("magic",)}, r"config\.methods must name some of naive"),
        ({"path.methods": ("magic",)}, r"config\.path\.methods must name some of"),
        ({"repairs": ("none", "statistics+magic")}, r"'statistics\+magic', known are"),
        ({"repairs": ()}, r"config\.repairs must name some repairs"),
        ({"closed_forms": ("least_squares",)}, r"closed_forms has 'least_squares'"),
        ({"path.num_points": 4}, "must be odd and >= 3"),
        ({"sizes": (1,)}, r"config\.sizes must be >= 2"),
        ({"sizes": (2, 2)}, "must name each once"),
        ({"num_groups": 0}, r"config\.num_groups must be >= 1"),
        ({"norm": "layer"}, r"norm is 'layer', known for 'digits_batchnorm' are batch"),
        ({"width": 0.0}, r"config\.width must be >= 1/16"),
        ({"files": ("a.pt", "b.pt")}, r"files=.* would be ignored with family"),
        ({"training.optimizer": "lion"}, r"optimizer is 'lion', known are adam, sgd"),
        ({"training.num_steps": 0}, r"training\.num_steps must be >= 1"),
        ({"training.learning_rate": 0.0}, "learning_rate must be positive"),
        ({"data.pool": 3}, "must divide 8 x 8 pixels"),
        ({"data.num_train": 1797}, "leaves no images"),
        ({"partial.shares": (0.5, 2.0)}, r"partial\.shares must lie in \[0, 1\]"),
        ({"data.unlabelled": "dreamt"}, r"unlabelled is 'dreamt', known are given"),
        ({"data.num_train": None}, "has no test split"),
        ({"data.num_test": 5000}, r"num_test must lie in 1\.\."),
        ({"data.num_unlabelled": 61}, r"num_unlabelled must lie in 1\.\.60"),
        ({"family": "mlp", "norm": "none"}, r"repairs has 'statistics', but networks"),
    ],
)
def test_bad_configs_are_refused_before_any_work(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"files": ("x.pt", "y.pt")}, FileNotFoundError, "no checkpoint 'x.pt'"),
        ({"files": ("a.pt",)}, ValueError, "at least two checkpoints"),
        ({"files": ("a.pt", "a.pt")}, ValueError, "each checkpoint once"),
        ({"sizes": (4,)}, ValueError, "there are 3 checkpoints"),
        ({"data.unlabelled": "smooth"}, ValueError, "are images, and family='splice'"),
        ({"data.dir": None}, ValueError, "config.data.dir names no folder"),
        ({"data.dir": "nowhere"}, FileNotFoundError, "windows.npz"),
        ({"data.num_test": 3}, ValueError, r"num_test must lie in 1\.\.2"),
        (
            {"width": 2.0},
            ValueError,
            r"width=2.0 would be ignored with family='splice'",
        ),
    ],
)
def test_bad_splice_configs_are_refused(tmp_path, splice, changes, error, message):
    config, _ = splice
    config.update_from_flattened_dict(changes)
    with pytest.raises(error, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, splice):
    config, checkpoints = splice
    tensors = checkpoints["b.pt"]
    tensors["extra.weight"] = tensors.pop("final_conv.weight")
    tensors["final_conv.bias"] = np.zeros(5)
    message = (
        r"b\.pt' is no OpenSpliceAI network .* lacks 'final_conv\.weight', has"
        r" 'extra\.weight', has 'final_conv\.bias' of shape \(5,\), not \(3,\)\."
    )
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_columns_have_titles():
    column = repairs.column("statistics+least_squares", is_free=False)
    assert column.title == "statistics + least squares"
    assert repairs.column("statistics", is_free=True).title == ("statistics, no data")


def test_every_variant_is_complete(data_dir):
    for variant in ("default", "splice", "mlp", "resnet20_mnist", "vgg11_plain"):
        config = configs.load("merge_networks", variant)
        plan = merge_networks.plan(merge_networks.EXPERIMENT.completed(config))
        assert len(plan.subject.names) == 2
