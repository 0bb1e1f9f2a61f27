"""Time limits and plans of the reproduction, without a run of it."""

import time

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments import registry
from experiments.paper import _plan, _state, _time_limit
from symmerge_jax import training
from tests.experiments import configs


@pytest.mark.parametrize(
    ("name", "keys", "adds"),
    [
        ("autoencode", ["num_orbits"], False),
        ("deep_align", ["methods", "other_data.num_networks"], True),
        ("deep_align", ["methods", "num_points"], False),
        ("failure_mode", ["chunk_size"], True),
        ("merge_mlps", ["num_points", "sinkhorn.num_steps"], True),
        ("merge_mlps", ["training.num_epochs"], False),
    ],
)
def test_no_run_is_removed_for_keys_that_it_may_change(tmp_path, name, keys, adds):
    experiment = registry.EXPERIMENTS[name]
    stage = _plan.Stage(
        name="stage",
        label="",
        section="data",
        source="",
        overrides=(),
        needs={},
        config=experiment.defaults(),
        experiment=experiment,
        output=tmp_path,
    )
    assert _state._only_add(keys, stage) is adds


def test_a_time_limit_lets_the_training_loop_save():
    saved = []
    hook = training.Hook(10**6, lambda step, *_: saved.append(step), True, True)
    key, params = jax.random.key(0), {"w": jnp.zeros(1)}
    state = training.init_state(key, params, optax.sgd(0.1))

    def step_fn(state, batch):
        time.sleep(0.01)
        return state, {"loss": jnp.zeros(())}

    with _time_limit.TimeLimit(0.5) as limit, pytest.raises(training.Interrupted):
        training.train(state, step_fn, lambda step: None, num_steps=9999, hooks=[hook])
    assert limit.is_up and len(saved) == 1 and 0 < saved[0] < 9999


@pytest.mark.parametrize("text", ["", "9", "9x", "-1s", "0s", "m"])
def test_a_time_limit_has_a_unit(text):
    with pytest.raises(ValueError, match=r"given as 540s, 9m or 1\.5h"):
        _time_limit.parse(text)


@pytest.mark.parametrize("name", ["paper_smoke", "paper_cpu", "paper_gpu"])
def test_the_paper_configs_are_plans_for_every_section(name, tmp_path):
    config = configs.load(name)
    plan = _plan.read(config, tmp_path)
    sections = {stage.section for stage in plan.values()}
    assert sections == set(_plan.SECTIONS)
    assert len({stage.label for stage in plan.values()}) == len(plan)
