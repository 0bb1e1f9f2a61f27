"""What learned alignment refuses before any work, with a message that says why."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import harness
from experiments.compare import deep_align
from symmerge_jax import zoo
from tests.experiments import populations as small


@pytest.fixture(scope="module")
def mlps(tmp_path_factory):
    return small.save_zoo(tmp_path_factory.mktemp("zoos") / "mlps.zoo", "mlp")


BAD = [
    ({"networks": "rnn"}, "config.networks is 'rnn', known are"),
    ({"models": ()}, "config.models must name some of"),
    ({"models": ("theirs",)}, "config.models must name some of"),
    ({"methods": ("magic",)}, "has 'magic', known are naive"),
    ({"methods": ("naive", "naive")}, "each method once"),
    (
        {"methods": ("deep_align",)},
        "needs deep_align: add 'deep_align' to config.models",
    ),
    ({"other_methods": ("ours", "deep_align")}, "config.other_methods has 'deep_al"),
    ({"ours.features.kind": "magic"}, "Features are of kind 'magic', known are"),
    ({"seeds": ()}, "config.seeds must be different"),
    ({"seeds": (1, 1)}, "config.seeds must be different"),
    ({"num_points": 4}, "must be odd and >= 3"),
    ({"num_points": 1}, "must be odd and >= 3"),
    ({"num_pairs": 0}, "config.num_pairs must be >= 1, got 0"),
    ({"chunk_size": 0}, "config.chunk_size must be >= 1"),
    ({"num_val_pairs": 0}, "config.num_val_pairs must be >= 1"),
    ({"num_train_inputs": 0}, "config.num_train_inputs must be >= 1"),
    ({"num_random_starts": -1}, "num_random_starts"),
    ({"sinkhorn.cost": "low", "methods": ("sinkhorn",)}, "cost must be one of"),
    ({"sinkhorn.num_steps": 0, "methods": ("ours_sinkhorn",)}, "num_steps"),
    (
        {"sinkhorn.eval_size": 10_000, "methods": ("sinkhorn",)},
        r"config\.sinkhorn\.eval_size must be at most \d+, the training",
    ),
    ({"crowds.sizes": (1,)}, r"lie in 2\.\.6"),
    ({"crowds.sizes": (7,)}, r"lie in 2\.\.6"),
    ({"crowds.sizes": (2, 2)}, "must differ"),
    (
        {"crowds.sizes": (2,), "crowds.num_crowds": 0},
        "num_crowds must be >= 1, got 0",
    ),
    ({"ours.losses.task": -1.0}, r"config\.ours: losses must be >= 0"),
    (
        {f"ours.losses.{name}": 0.0 for name in ("supervised", "alignment", "task")},
        "not all zero",
    ),
    ({"ours.batch_size": 13}, "A batch of 13 is larger than the 12 networks"),
    ({"ours.batch_size": 0}, r"config\.ours\.batch_size must be >= 1, got 0"),
    ({"ours.inputs_per_pair": 0}, r"config\.ours: inputs_per_pair must be >= 1, got 0"),
    ({"ours.log_every": 0}, r"config\.ours\.log_every must be >= 1"),
    ({"augment.noise": -1.0}, "noise must be >= 0"),
    ({"augment.scale": 1.0}, r"config\.augment .* scale must lie in \[0, 1\)"),
    ({"distort.shift": 0.1}, "changes INRs, not classifiers"),
    ({"population.data.source": "nothing"}, "nothing"),
    ({"split.test_fraction": 0.05}, "The part 'test' of config.population has 1 of 24"),
    ({"split.test_fraction": 0.9}, "Fractions of a split"),
    ({"zoo": "nowhere.zoo"}, r"nowhere\.zoo"),
    ({"other_data.zoo": "some.zoo"}, "config.other_data.zoo .* config.other_data.sour"),
    (
        {"other_width.zoo": "some.zoo"},
        r"other_width\.zoo .* config\.other_width\.hidden_sizes",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_wrong_values_are_refused_before_any_work(mlps, tmp_path, changes, message):
    config = small.config("mlp", mlps, **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        small.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_that_are_not_finite_are_refused(mlps, tmp_path, monkeypatch):
    loaded = zoo.load(mlps)
    params = jax.tree.map(np.array, dict(loaded.params))
    params["dense_0"]["kernel"][3, 0, 0] = np.nan
    broken = dataclasses.replace(loaded, params=params)
    monkeypatch.setattr(zoo, "load", lambda _: broken)
    with pytest.raises(ValueError, match=r"Network 3 .* NaN or infinite"):
        small.run(small.config("mlp", mlps), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "of", "networks", "changes", "message"),
    [
        ("mlp", "cnn", {}, {}, "kind 'cnn', but config.networks is 'mlp'"),
        ("mlp", "mlp", {"num": 2}, {}, "would be empty"),
        (
            "mlp",
            "mlp",
            {"layer_sizes": [64, 5, 9]},
            {},
            "lie in 0..9, but the network has 9",
        ),
        ("mlp", "mlp", {"layer_sizes": [49, 5, 10]}, {}, "images of 8 x 8 pixels"),
        ("cnn", "cnn", {}, {"rotated": True}, "turns images for MLPs"),
        ("siren", "siren", {"fits_per_image": 1}, {}, "no two that draw one image"),
        ("siren", "siren", {}, {"distort.shift": -0.1}, "shift of a warp must be >= 0"),
        ("siren", "siren", {}, {"other_data.source": "mnist"}, "not for SIRENs"),
        ("siren", "siren", {}, {"crowds.sizes": (2,)}, "not for SIRENs"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    kind, of, networks, changes, message, tmp_path
):
    path = small.save_zoo(tmp_path / "a.zoo", of, **networks)
    config = small.config(kind, path, **changes)
    with pytest.raises(ValueError, match=message):
        small.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"num": 1}, "of config.other_width has 1 of 1 networks"),
        ({"activation": "tanh"}, "differ in the widths of hidden layers only"),
        ({"layer_sizes": [64, 5, 4, 10]}, "differ in the widths of hidden layers only"),
    ],
)
def test_other_networks_that_do_not_fit_are_refused(mlps, networks, message, tmp_path):
    config = small.config("mlp", mlps)
    config.other_width.zoo = small.save_zoo(tmp_path / "a.zoo", "mlp", **networks)
    config.other_width.hidden_sizes = (5,)
    with pytest.raises(ValueError, match=message):
        small.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["mlp", "cnn", "siren"])
def test_no_two_keys_of_a_config_are_one(kind):
    """Keys made of one placeholder would take each other's values."""
    config = deep_align.default_config(kind)
    keys = [key for key, value in harness.flatten_config(config) if value is None]
    assert {"zoo", "num_train_inputs", "num_test_inputs", "other_width.zoo"} < {*keys}
    for key in keys:
        changed = deep_align.default_config(kind)
        group, _, name = key.rpartition(".")
        owner = changed
        for part in group.split(".") if group else ():
            owner = owner[part]
        owner[name] = "x" if owner.get_type(name) is str else 7
        values = dict(harness.flatten_config(changed))
        assert [other for other in keys if values[other] is not None] == [key]
