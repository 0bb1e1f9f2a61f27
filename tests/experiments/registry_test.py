import pytest

from experiments import harness, registry


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_every_experiment_follows_the_protocol(name):
    experiment = registry.find_experiment(name)
    defaults = experiment.defaults()
    assert experiment.name == defaults.experiment == name
    keys = {key for key, _ in harness.flatten_config(defaults)}
    names = {key.rpartition(".")[2] for key in keys}
    groups = {key.rpartition(".")[0] for key in keys}
    assert set(experiment.may_change) <= keys | names | groups


@pytest.mark.parametrize("name", [None, "autoencoder", "_config"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"is {name!r}, known are autoencode, "):
        registry.find_experiment(name)
