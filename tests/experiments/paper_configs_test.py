"""Every stage of the paper's configs is checked as its experiment checks it at first.

What a stage needs is planned instead of made, so that nothing is trained.
"""

import functools
import pathlib

import pytest

from experiments import harness
from experiments.compare import merge_cnns
from experiments.paper import _plan
from experiments.populations import make_classifier_zoo, make_zoo
from experiments.train import predict
from symmerge_jax import zoo
from tests.experiments import configs

PLANNED = {}
PAPERS = ("paper_smoke", "paper_cpu", "paper_gpu")


@functools.cache
def plan_of(name):
    config = configs.load(name)
    return _plan.read(config, pathlib.Path("/nowhere"))


def stages():
    for name in PAPERS[1:]:  # the first one is run as a whole, elsewhere
        for stage in plan_of(name):
            yield pytest.param(name, stage, id=f"{name}-{stage}")


load_images = functools.cache(zoo.load_images)


@pytest.fixture(autouse=True)
def plan_once(monkeypatch):
    """Keep images that are read, which takes seconds, and zoos that are planned."""
    monkeypatch.setattr(zoo, "load_images", load_images)
    for module in (make_zoo, make_classifier_zoo):
        monkeypatch.setattr(module, "plan", functools.partial(planned, module.plan))


def planned(plan, config):
    key = harness.config_hash(config)
    if key not in PLANNED:
        PLANNED[key] = plan(config)
    return PLANNED[key]


def with_its_own_zoo(plan, stage):
    """Return the config of a stage that would make the zoo that it needs."""
    config = stage.config.copy_and_resolve_references()
    config.zoo = None
    for key, value in plan[stage.needs["zoo"]].config.items():
        if key not in ("experiment", "seed", "chunk_size"):
            config[key] = value
    return config


def maker_of(stage):
    is_classifiers = stage.config.get("experiment") == "make_classifier_zoo"
    return make_classifier_zoo if is_classifiers else make_zoo


def check(plan, stage):
    name = stage.config.get("experiment")
    if stage.is_zoo:
        maker_of(stage).plan(stage.config)
    elif name in ("autoencode", "autoencode_classifiers"):
        stage.experiment.plan(with_its_own_zoo(plan, stage))
    elif name == "predict":
        predict._check_task(stage.config)
        if stage.config.task == "label":
            config = with_its_own_zoo(plan, stage)
            config.pretrained = None  # not trained here
            stage.experiment.plan(config)
    elif name == "merge_cnns":
        merge_cnns.check(stage.config)
    else:  # all values are checked before the missing autoencoders are opened
        with pytest.raises(FileNotFoundError):
            stage.experiment.plan(stage.config)


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "name"), [*stages()])
def test_a_stage_passes_the_early_checks_of_its_experiment(paper, name, data_dir):
    plan = plan_of(paper)
    check(plan, plan[name])


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_stage_says_of_its_zoo_is_how_that_is_made(paper):
    """Else the experiment would refuse keys that it cannot fulfil."""
    plan = plan_of(paper)
    for stage in plan.values():
        name = stage.config.get("experiment") or ""
        if "zoo" not in stage.needs or name == "merge_cnns":
            continue
        made = plan[stage.needs["zoo"]]
        ours, theirs, usual = (
            dict(harness.flatten_config(config))
            for config in (stage.config, made.config, maker_of(made).default_config())
        )
        for key in usual.keys() - {"experiment", "seed", "chunk_size", "data.dir"}:
            if key in ours and ours[key] != usual[key]:
                assert ours[key] == theirs[key], f"{paper}, {stage.name}: {key}"


@pytest.mark.parametrize("paper", PAPERS)
def test_what_is_compared_holds_out_the_same_networks(paper):
    """Canonicalisers on one zoo have one seed and fractions, also where they merge."""
    plan = plan_of(paper)
    held_out = {}
    for stage in plan.values():
        config = stage.config
        if stage.config.get("experiment", "").startswith("autoencode"):
            split = (config.seed, config.val_fraction, config.test_fraction)
            held_out.setdefault(stage.needs["zoo"], set()).add(split)
        elif stage.config.get("experiment") == "merge_cnns":
            values = config.split
            split = (values.seed, values.val_fraction, values.test_fraction)
            held_out[stage.needs["zoo"]].add(split)
    assert held_out and all(len(splits) == 1 for splits in held_out.values()), held_out
