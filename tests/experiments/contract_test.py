"""What holds for every experiment; what they do is tested in files of their own.

The slow half, on finished runs, is in `reproduce_smoke_test.py`.
"""

import jax
import pytest
from ml_collections import ConfigDict

from experiments import harness, registry

WRONG = {
    "autoencode": {"loss": "x"},
    "autoencode_classifiers": {"distill_on": "x"},
    "deep_align": {"methods": ("x",)},
    "failure_mode": {"methods": ("x",)},
    "interpolate": {"methods": ("x",)},
    "map_latents": {"maps": ("x",)},
    "merge_cnns": {"repairs": ("x",)},
    "merge_mlps": {"methods": ("x",)},
    "merge_networks": {"repairs": ("x",)},
    "orbit_noise": {"noises": ("x",)},
    "predict": {"task": "x"},
}
EXPERIMENTS = pytest.mark.parametrize("name", registry.EXPERIMENTS)


@EXPERIMENTS
def test_keys_that_may_change_exist(name):
    experiment = registry.find_experiment(name)
    defaults = experiment.defaults()
    assert experiment.name == defaults.experiment == name
    keys = {key for key, _ in harness.flatten_config(defaults)}
    names = {key.rpartition(".")[2] for key in keys}
    groups = {key.rpartition(".")[0] for key in keys}
    assert set(experiment.may_change) <= keys | names | groups


@EXPERIMENTS
def test_an_unknown_key_is_refused_with_its_neighbour(name, tmp_path):
    experiment = registry.find_experiment(name)
    config = ConfigDict({"experiment": name, "seeed": 1})
    with pytest.raises(ValueError, match=r"'seeed': did you mean .*'seeds?'"):
        harness.run(experiment, config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@EXPERIMENTS
def test_a_wrong_value_is_refused_before_anything_is_written(name, tmp_path):
    experiment = registry.find_experiment(name)
    [(key, value)] = WRONG[name].items()
    with pytest.raises(ValueError, match=rf"{key}.*'x'"):
        harness.run(experiment, ConfigDict({key: value}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_many_processes_cannot_share_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    experiment = registry.find_experiment("map_latents")
    with pytest.raises(ValueError, match="'map_latents' does not run in 2 processes"):
        harness.run(experiment, ConfigDict(), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@EXPERIMENTS
def test_a_run_that_is_not_there_cannot_be_evaluated(name, tmp_path):
    experiment = registry.find_experiment(name)
    with pytest.raises(FileNotFoundError, match="no config in"):
        harness.evaluate(experiment, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [None, "autoencoder", "_config"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"is {name!r}, known are autoencode, "):
        registry.find_experiment(name)
