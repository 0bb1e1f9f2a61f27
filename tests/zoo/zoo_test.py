import jax
import numpy as np
import pytest

from symmerge_jax import networks, zoo

ARCHITECTURE = {"kind": "siren", "layer_sizes": [2, 4, 1], "w0": 20.0}


def make(num_networks=6, seed=0, architecture=ARCHITECTURE, **parts):
    network = networks.build(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    generator = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda p: generator.normal(0, 0.1, (num_networks, *p.shape)).astype(np.float32),
        shapes,
    )
    return zoo.create(architecture, params, **parts)


def full(seed=0, **parts):
    parts = {
        "labels": np.arange(6) % 3,
        "image_index": np.arange(6) // 2,
        "images": np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4),
        "image_row": np.arange(6) // 2,
        "metrics": {"psnr": np.linspace(20, 30, 6, dtype=np.float32)},
        "provenance": {"made_by": "a test"},
        **parts,
    }
    return make(6, seed, **parts)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, dict(a.params), dict(b.params))
    for name in ("labels", "image_index", "subset_index", "images", "image_row"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.metrics.keys() == b.metrics.keys()
    for name in a.metrics:
        np.testing.assert_array_equal(a.metrics[name], b.metrics[name])
    assert (a.subsets, a.architecture) == (b.subsets, b.architecture)


def test_architecture_is_completed_and_builds():
    assert make().architecture == {
        "kind": "siren",
        "layer_sizes": [2, 4, 1],
        "w0": 20.0,
        "first_w0": None,
        "output_offset": 0.5,
    }


def test_saved_zoo_is_loaded_as_it_was(tmp_path):
    before = full()
    path = tmp_path / "folder" / "a.zoo"
    zoo.save(path, before)
    after = zoo.load(path)
    assert_equal(before, after)
    assert after.provenance == before.provenance
    assert isinstance(after.params["dense_0"]["kernel"], np.memmap)
    assert [p.name for p in path.parent.iterdir()] == ["a.zoo"]


def test_zoo_without_images_round_trips(tmp_path):
    zoo.save(tmp_path / "a.zoo", make())
    after = zoo.load(tmp_path / "a.zoo")
    assert after.images is None and after.image_row is None
    assert_equal(make(), after)


def test_equal_zoos_are_equal_files(tmp_path):
    zoo.save(tmp_path / "a.zoo", full())
    zoo.save(tmp_path / "b.zoo", zoo.load(tmp_path / "a.zoo"))
    assert (tmp_path / "a.zoo").read_bytes() == (tmp_path / "b.zoo").read_bytes()


def test_zoo_may_be_saved_over_itself(tmp_path):
    path = tmp_path / "a.zoo"
    zoo.save(path, full())
    zoo.save(path, zoo.load(path))
    assert_equal(full(), zoo.load(path))


def test_any_safetensors_reader_opens_the_file(tmp_path):
    import safetensors.numpy

    zoo.save(tmp_path / "a.zoo", full())
    arrays = safetensors.numpy.load_file(tmp_path / "a.zoo")
    np.testing.assert_array_equal(
        arrays["params/dense_1/kernel"], full().params["dense_1"]["kernel"]
    )


def test_select_takes_numbers_and_masks():
    some = zoo.select(full(), np.array([4, 1]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.labels, [1, 1])
    np.testing.assert_array_equal(some.image_row, [2, 0])
    masked = zoo.select(full(), np.arange(6) == 3)
    np.testing.assert_array_equal(masked.metrics["psnr"], full().metrics["psnr"][3:4])
    with pytest.raises(ValueError, match="zero networks"):
        zoo.select(full(), np.zeros(6, bool))


def test_concatenate_undoes_select():
    whole = full()
    parts = [zoo.select(whole, np.arange(2)), zoo.select(whole, np.arange(2, 6))]
    joined = zoo.concatenate(parts)
    np.testing.assert_array_equal(joined.labels, whole.labels)
    np.testing.assert_array_equal(
        joined.images[joined.image_row], whole.images[whole.image_row]
    )
    jax.tree.map(np.testing.assert_array_equal, dict(joined.params), dict(whole.params))


def test_concatenate_joins_subsets_and_drops_what_not_all_have():
    test = full(seed=1, subsets=("test",), images=None, image_row=None, metrics={})
    joined = zoo.concatenate([full(), test])
    assert joined.subsets == ("train", "test")
    np.testing.assert_array_equal(joined.subset_index, [0] * 6 + [1] * 6)
    assert joined.images is None and joined.metrics == {}


def test_concatenate_refuses_another_architecture():
    other = make(architecture={**ARCHITECTURE, "layer_sizes": [2, 5, 1]})
    with pytest.raises(ValueError, match=r"layer_sizes is \[2, 5, 1\], wanted \[2, 4"):
        zoo.concatenate([make(), other])
    with pytest.raises(ValueError, match="at least one"):
        zoo.concatenate([])


def test_split_keeps_the_fits_of_an_image_together():
    image_index = np.tile(np.repeat(np.arange(20), 3), 2)
    whole = make(
        120,
        image_index=image_index,
        subset_index=np.repeat([0, 1], 60),
        subsets=("train", "test"),
    )
    parts = zoo.split(whole, {"train": 0.5, "validation": 0.25, "test": 0.25})
    assert sorted(np.concatenate(list(parts.values()))) == list(range(120))
    images = {
        name: {(whole.subset_index[i], image_index[i]) for i in part}
        for name, part in parts.items()
    }
    assert [len(v) for v in images.values()] == [20, 10, 10]
    assert not images["train"] & images["validation"] and not (
        images["train"] & images["test"]
    )


def test_split_follows_the_seed():
    whole = make(50)
    fractions = {"train": 0.8, "test": 0.2}
    one, same = zoo.split(whole, fractions), zoo.split(whole, fractions)
    other = zoo.split(whole, fractions, seed=1)
    np.testing.assert_array_equal(one["test"], same["test"])
    assert not np.array_equal(one["test"], other["test"])


@pytest.mark.parametrize("fractions", [{}, {"a": 0.7, "b": 0.5}, {"a": 0.0}])
def test_split_refuses_impossible_fractions(fractions):
    with pytest.raises(ValueError, match="Fractions"):
        zoo.split(make(), fractions)


def test_split_refuses_an_empty_part():
    with pytest.raises(ValueError, match="'test' of the split would be empty"):
        zoo.split(make(4), {"train": 0.95, "test": 0.05})


def test_statistics_are_mean_and_deviation_of_each_tensor():
    kernel = make().params["dense_0"]["kernel"]
    mean, std = zoo.statistics(make())["dense_0", "kernel"]
    assert mean == pytest.approx(kernel.mean(), abs=1e-8)
    assert std == pytest.approx(kernel.std(), rel=1e-5)


def test_it_is_shown_in_a_line():
    assert repr(make(6)).startswith("<Zoo of 6 networks, architecture={'kind': ")
    assert len(repr(make(6))) == len(repr(make(7))) < 300


def test_summary_tells_what_is_in_the_zoo():
    text = zoo.summary(full())
    for words in ("networks      6", "3 distinct", "dense_1/kernel", "psnr", "a test"):
        assert words in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_weights_are_refused_by_network_and_tensor(tmp_path, value):
    bad = full()
    bad.params["dense_1"]["kernel"] = bad.params["dense_1"]["kernel"].copy()
    bad.params["dense_1"]["kernel"][4, 2, 0] = value
    with pytest.raises(ValueError, match=r"Network 4 .* dense_1/kernel"):
        zoo.save(tmp_path / "a.zoo", bad)
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_fit_are_refused():
    for message, call in [
        ("at least one network", lambda: make(0)),
        ("labels", lambda: make(labels=np.zeros(5, int))),
        ("psnr", lambda: make(metrics={"psnr": np.zeros(2)})),
        ("subset_index", lambda: make(subset_index=np.ones(6, int))),
        ("image_row", lambda: full(image_row=np.full(6, 3))),
        ("together", lambda: full(image_row=None)),
        ("uint8 or float32", lambda: full(images=np.zeros((3, 4, 4)))),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_params_of_another_architecture_are_refused():
    params = make().params
    other = {**ARCHITECTURE, "layer_sizes": [2, 5, 1]}
    with pytest.raises(ValueError, match=r"dense_0/bias .*\(6, 4\).*\(6, 5\)"):
        zoo.create(other, params)
    deeper = {**ARCHITECTURE, "layer_sizes": [2, 4, 4, 1]}
    with pytest.raises(ValueError, match="dense_2/bias"):
        zoo.create(deeper, params)
    wide = jax.tree.map(lambda x: x.astype(np.float64), params)
    with pytest.raises(ValueError, match="float64"):
        zoo.create(ARCHITECTURE, wide)


def test_require_architecture_names_the_difference():
    zoo.require_architecture(make(), {**ARCHITECTURE, "first_w0": None})
    with pytest.raises(ValueError, match=r"w0 is 20\.0, wanted 30\.0"):
        zoo.require_architecture(make(), {**ARCHITECTURE, "w0": 30.0})
