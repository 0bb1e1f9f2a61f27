import pytest

from symmerge_jax import experiments
from symmerge_jax.experiments import _config


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_follows_the_protocol(name):
    module = experiments.find_experiment(name)
    assert module.default_config().experiment == name
    assert callable(module.run) and callable(module.table)
    assert isinstance(module.MAY_CHANGE, tuple)
    keys = {key for key, _ in _config.flatten(module.default_config())}
    names = {key.rpartition(".")[2] for key in keys}
    groups = {key.rpartition(".")[0] for key in keys}
    assert set(module.MAY_CHANGE) <= keys | names | groups


@pytest.mark.parametrize("name", [None, "autoencoder", "_config"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"is {name!r}, known are autoencode, "):
        experiments.find_experiment(name)
