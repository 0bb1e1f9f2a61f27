import json

import jax
import numpy as np
import pytest

from experiments import harness
from experiments.compare import _methods, merge_cnns
from experiments.populations import cnn_data
from symmerge_jax import symmetry, zoo
from tests.experiments import cnns, configs

FILES = {
    *("cells", "config.json", "crowd.pdf", "crowd.png", "paths.pdf", "paths.png"),
    *("results.json", "results.npz", "versions.json"),
}

FINISHED = ("naive", "matching")
OF_TWINS = ("naive", "matching_best", "closed_form", "activation_matching")
UNREPAIRED = {"closed_forms": (), "repairs": ("none",)}


def tiny(path, **changes):
    config = configs.load("merge_cnns", "smoke")
    config.zoo = str(path)
    config.data.num_images = 100
    config.split.val_fraction, config.split.test_fraction = 0.1, 0.5
    config.methods = FINISHED
    config.crowd.methods = ("naive",)
    config.closed_forms, config.repairs = ("rescale",), ("none", "least_squares")
    config.update_from_flattened_dict(changes)
    return config


def text(results):
    return harness.to_text(merge_cnns.EXPERIMENT.tables(results))


def run(config, workdir):
    return harness.run(merge_cnns.EXPERIMENT, config, workdir)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return cnns.save_zoo(tmp_path_factory.mktemp("zoo") / "a.zoo")


@pytest.fixture(scope="module")
def canonicalizer(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs")
    (workdir / "config.json").write_text("{}")
    return cnns.save_canonicalizer(workdir / "canonicalizer")


@pytest.fixture(scope="module")
def finished(path, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = tiny(path)
    return config, workdir, run(config, workdir)


@pytest.mark.slow
def test_a_run_leaves_its_results_and_curves(finished):
    config, workdir, results = finished
    assert {path.name for path in workdir.iterdir()} == FILES
    assert json.loads((workdir / "results.json").read_text()) == results
    naive, matched = (results["methods"][name] for name in config.methods)
    assert naive["function_error"] == 0 < matched["function_error"] < 1e-8
    assert matched["label"] == "matching P + scale (published)"
    assert results["num_test_images"] == 20
    with np.load(workdir / "results.npz") as arrays:
        curve = arrays["matching/accuracy"]
        assert curve.shape == (2, 3)
        # A method that keeps functions does not move the ends.
        parents = results["parents"]["accuracy"]["mean"]
        np.testing.assert_allclose(curve[:, [0, -1]].mean(), parents, atol=1e-6)
        drop = matched["columns"]["none"]["drop"]["mean"]
        np.testing.assert_allclose(parents - curve[:, 1].mean(), drop, atol=1e-6)
    assert list(matched["columns"]) == ["none", "closed_rescale", "least_squares"]
    losses = [found["loss"]["mean"] for found in matched["columns"].values()]
    assert len(set(losses)) == 3  # each repair makes another network
    crowd = results["crowd"]
    assert (crowd["sizes"], len(crowd["members"])) == ([2, 3], 2)
    assert len(crowd["methods"]["naive"]["columns"]["least_squares"]["accuracy"]) == 2


@pytest.mark.slow
def test_pairs_are_disjoint_held_out_and_sorted(finished, path):
    config, _, results = finished
    held_out = zoo.split(
        zoo.load(path), {"val": 0.1, "test": 0.5, "train": 0.4}, seed=config.split.seed
    )["test"]
    pairs = np.array(results["pairs"])
    assert len(np.unique(pairs)) == 4 and set(pairs.ravel()) <= set(held_out)
    assert (pairs[:, 0] < pairs[:, 1]).all()  # their accuracy is their number
    best = cnn_data.load(tiny(path, num_best=5))
    np.testing.assert_array_equal(best.number, np.sort(held_out)[:-6:-1])


def test_of_a_training_run_the_best_checkpoint_is_taken(tmp_path):
    _, params = cnns.random_networks(12)
    runs = zoo.create(
        cnns.ARCHITECTURE,
        params,
        image_index=np.arange(12) // 3,
        metrics={"test_accuracy": np.array([1, 3, 2] * 4) + np.arange(12) / 100},
    )
    zoo.save(tmp_path / "a.zoo", runs)
    found = cnn_data.load(tiny(tmp_path / "a.zoo", **{"split.val_fraction": 0.25}))
    assert len(found.number) == 2 and set(found.number % 3) == {1}


@pytest.mark.slow
def test_a_finished_run_goes_on_with_further_methods(finished, monkeypatch):
    config, workdir, results = finished
    with monkeypatch.context() as patch:  # nothing is measured again
        patch.setattr(_methods, "prepare", None)
        assert run(config, workdir) == results
    more = config.copy_and_resolve_references()
    more.methods = ("closed_form", "matching")
    more.crowd.sizes = (3, 4)
    found = run(more, workdir)
    assert list(found["methods"]) == list(more.methods)
    assert found["methods"]["matching"] == results["methods"]["matching"]
    assert found["crowd"]["members"][0] == results["crowd"]["members"][1]
    more.num_points = 5
    with pytest.raises(ValueError, match=r"another config: num_points was 3"):
        run(more, workdir)


@pytest.mark.slow
def test_a_single_pair_has_no_errors_and_a_run_may_be_crowds_only(path, tmp_path):
    one = tiny(path, num_pairs=1, **UNREPAIRED, methods=("naive",))
    one.crowd.sizes = ()
    results = run(one, tmp_path / "one")
    assert "±" not in text(results) and "crowd" not in results
    assert results["parents"]["accuracy"]["se"] is None
    crowds = tiny(path, num_pairs=0, **UNREPAIRED)
    results = run(crowds, tmp_path / "crowds")
    assert not results["methods"] and not (tmp_path / "crowds/paths.png").exists()
    assert text(results).startswith("accuracy in % of the mean of k networks, 2 crowds")


@pytest.mark.slow
def test_tables_say_what_was_seen(finished):
    _, _, results = finished
    methods = {"other": {**results["methods"]["naive"], "sees": "data"}}
    paths, means, crowds = merge_cnns.EXPERIMENT.tables(
        {**results, "methods": methods | results["methods"]}
    )
    matched = "matching P + scale (published)"
    assert [row[:2] for row in map(tuple, paths.rows)] == [
        ("(the two networks)", "-"),
        ("naive", "weights"),
        (matched, "weights"),
        ("naive", "data"),
    ]
    error = results["methods"]["naive"]["error"]
    cells = dict(zip(paths.columns, map(str, paths.rows[1]), strict=True))
    middle, se = (100 * x for x in (1 - error["middle"], error["middle_se"]))
    assert cells["mid acc %"] == f"{middle:.2f} ± {se:.2f}"
    assert means.columns[2:] == ("none", "rescale, no data", "least squares")
    assert [row[0] for row in means.rows] == ["naive", matched, "naive"]
    assert crowds.columns[3:] == ("k = 2", "k = 3") and len(crowds.rows) == 4


@pytest.mark.slow
def test_every_method_of_an_autoencoder_and_of_crowds_runs(
    path, canonicalizer, tmp_path
):
    """But for methods that another test of this file runs."""
    config = tiny(path, canonicalizer=canonicalizer, methods=(), **UNREPAIRED)
    config.crowd.methods, config.crowd.sizes = (), (3,)
    assert merge_cnns.plan(config).methods == merge_cnns.METHODS
    assert {*FINISHED, *OF_TWINS} < set(merge_cnns.METHODS)
    left = [x for x in merge_cnns.METHODS if x not in (*FINISHED, *OF_TWINS)]
    config.methods = ("naive", *left)
    results = run(config, tmp_path / "run")
    assert list(results["methods"]) == ["naive", *left]
    assert list(results["crowd"]["methods"]) == list(merge_cnns.CROWD_METHODS)
    for name, method in results["methods"].items():
        assert method["is_exact"] == (method["function_error"] < 1e-8), name


def test_without_an_autoencoder_its_methods_are_omitted(path):
    plan = merge_cnns.plan(tiny(path, methods=()))
    assert set(merge_cnns.METHODS) - set(plan.methods) == {"template", "reconstruct"}


def test_methods_may_see_noise_in_place_of_images(path, monkeypatch):
    plan = merge_cnns.plan(tiny(path, **{"data.unlabelled": "smooth"}))
    prepare, seen = _methods.prepare, []

    def spy(name, context):
        bring = prepare(name, context)
        return lambda crowds: seen.append(crowds.data) or bring(crowds)

    monkeypatch.setattr(_methods, "prepare", spy)
    lab = merge_cnns._Lab(plan)
    lab._bring("naive", plan.pairs)
    given = merge_cnns.plan(tiny(path)).data.task
    inputs = seen[0]["inputs"]
    assert seen[0]["targets"] is None and inputs.shape == given.train.inputs.shape
    assert inputs.min() == -1 and inputs.max() == 1
    assert np.abs(inputs - given.train.inputs).mean() > 0.3
    np.testing.assert_array_equal(lab._seen, inputs[: plan.num_repair_images])
    np.testing.assert_array_equal(plan.data.task.test.inputs, given.test.inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.unlabelled": "dreamt"}, "unlabelled is 'dreamt', known are given, smo"),
        ({"zoo": None}, r"config\.zoo names no zoo"),
        ({"methods": ("naive", "magic")}, r"has 'magic', known are naive"),
        ({"methods": ("naive", "naive")}, "each method once"),
        ({"crowd.methods": ("template",)}, r"crowd\.methods has 'template', which"),
        ({"repairs": ("glue",)}, r"repairs has 'glue', known are none, statistics"),
        ({"repairs": ()}, r"repairs must name some repairs, each once, got \(\)"),
        ({"closed_forms": ("bias",)}, r"closed_forms has 'bias', known are none"),
        ({"num_points": 4}, "must be odd and >= 3"),
        ({"num_pairs": 7}, "num_pairs is 7, which takes 14 networks, but there are 12"),
        ({"num_pairs": 0, "crowd.sizes": ()}, "Nothing to do"),
        ({"num_best": 13}, r"num_best must lie in 2\.\.12"),
        ({"crowd.sizes": (2, 13)}, r"must lie in 2\.\.12"),
        ({"crowd.sizes": (1, 2)}, r"must lie in 2\.\.12"),
        ({"crowd.sizes": (2, 2)}, "differ"),
        ({"data.num_test": 21}, r"num_test must lie in 1\.\.20"),
        ({"chunk_size": 0}, "chunk_size must be >= 1"),
        ({"split.test_fraction": 0.04}, "takes 4 networks, but there are 1:"),
    ],
)
def test_bad_configs_are_refused_before_any_work(path, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tiny(path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_that_do_not_fit_are_refused(tmp_path, path, monkeypatch):
    large = cnns.save_zoo(tmp_path / "l.zoo", 8, image_shape=[9, 9, 1])
    with pytest.raises(ValueError, match=r"reads inputs of shape \(9, 9, 1\)"):
        cnn_data.load(tiny(large))
    few = cnns.save_zoo(tmp_path / "f.zoo", 8, num_classes=7)
    with pytest.raises(ValueError, match=r"lie in 0\.\.9, but .* has 7 outputs"):
        cnn_data.load(tiny(few))
    unknown = cnns.save_zoo(tmp_path / "u.zoo", 8, metrics={})
    with pytest.raises(ValueError, match="has no metric test_accuracy"):
        cnn_data.load(tiny(unknown))
    mlp = {"kind": "mlp", "layer_sizes": [2, 1]}
    params = {"dense_0": {"kernel": np.ones((4, 2, 1)), "bias": np.ones((4, 1))}}
    params = jax.tree.map(np.float32, params)
    zoo.save(tmp_path / "m.zoo", zoo.create(mlp, params))
    with pytest.raises(ValueError, match="networks of kind 'mlp', not CNNs"):
        cnn_data.load(tiny(tmp_path / "m.zoo"))
    _, params = cnns.random_networks(8)
    params["dense"]["bias"][3] = np.nan
    with monkeypatch.context() as patch:
        patch.setattr("symmerge_jax.zoo._zoo.check_finite", lambda zoo: None)
        cnns.save_zoo(tmp_path / "n.zoo", 8, params=params)
    with pytest.raises(ValueError, match="Network 3 of the zoo has NaN"):
        cnn_data.load(tiny(tmp_path / "n.zoo"))


def test_autoencoders_that_do_not_fit_are_refused(tmp_path, path, canonicalizer):
    other = cnns.save_canonicalizer(tmp_path / "o", channels=[4])
    with pytest.raises(ValueError, match="another architecture: channels is"):
        cnn_data.load(tiny(path, canonicalizer=other))
    workdir = tmp_path / "run"
    cnns.save_canonicalizer(workdir / "canonicalizer")
    (workdir / "config.json").write_text('{"seed": 0, "test_fraction": 0.3}')
    for name in (workdir, workdir / "canonicalizer"):
        with pytest.raises(ValueError, match=r"test_fraction=0\.3, but config\.split"):
            cnn_data.load(tiny(path, canonicalizer=str(name)))
    agreed = {"canonicalizer": str(workdir), "split.test_fraction": 0.3}
    assert cnn_data.load(tiny(path, **agreed)).canonicalizer is not None
    with pytest.raises(FileNotFoundError, match="No canonicaliser in"):
        cnn_data.load(tiny(path, canonicalizer=str(tmp_path / "nowhere")))


def test_an_autoencoder_whose_split_is_unknown_is_refused(tmp_path, path):
    alone = cnns.save_canonicalizer(tmp_path / "copied/canonicalizer")
    with pytest.raises(
        ValueError,
        match=r"neither '.*copied/canonicalizer/config\.json' nor '.*copied/config\.js",
    ):
        cnn_data.load(tiny(path, canonicalizer=alone))


def test_variants():
    assert configs.load("merge_cnns", "single").num_pairs == 1
    assert configs.load("merge_cnns", "crowd").crowd.sizes == tuple(range(2, 11))
    with pytest.raises(ValueError, match="Variants are"):
        configs.load("merge_cnns", "huge")


@pytest.mark.slow
def test_twins_are_joined_without_a_barrier(path):
    """Negative test too: as they are, they are not."""
    plan = merge_cnns.plan(tiny(path, num_pairs=3, **{"split.test_fraction": 0.3}))
    data, spec = plan.data, plan.data.network.spec
    a = jax.tree.map(lambda x: x[plan.pairs[:, 0]], data.params)
    one = jax.tree.map(lambda x: x[0], a)
    sample = lambda key: symmetry.sample(key, spec, spec.sizes(one))  # noqa: E731
    element = jax.vmap(sample)(jax.random.split(jax.random.key(1), 3))
    b = jax.vmap(lambda g, x: symmetry.act(g, x, spec))(element, a)
    twins = jax.tree.map(lambda *x: np.concatenate(x), *jax.device_get((a, b)))
    rows = np.stack([np.arange(3), np.arange(3) + 3], axis=1)
    lab = merge_cnns._Lab(plan._replace(data=data._replace(params=twins), pairs=rows))
    middle = {}
    for name in OF_TWINS:
        found = lab.pairs(name)
        assert found["function_error"].shape == (3,)
        assert found["function_error"].max() < 1e-8
        curve = found["path/loss"]
        middle[name] = np.abs(curve[:, 1] - curve[:, 0]).max()
    assert middle.pop("naive") > 1e-3
    assert max(middle.values()) < 1e-4, middle
