"""Every experiment that `launch/train.py` can run, by the name in its config."""

from typing import Any

from experiments import harness
from experiments.compare import (
    deep_align,
    failure_mode,
    interpolate,
    merge_cnns,
    merge_mlps,
)
from experiments.latents import map_latents
from experiments.real import merge_networks
from experiments.train import (
    autoencode,
    autoencode_classifiers,
    orbit_noise,
    predict,
)

EXPERIMENTS: dict[str, harness.Experiment] = {
    experiment.name: experiment
    for experiment in (
        autoencode.EXPERIMENT,
        autoencode_classifiers.EXPERIMENT,
        deep_align.EXPERIMENT,
        failure_mode.EXPERIMENT,
        interpolate.EXPERIMENT,
        map_latents.EXPERIMENT,
        merge_cnns.EXPERIMENT,
        merge_mlps.EXPERIMENT,
        merge_networks.EXPERIMENT,
        orbit_noise.EXPERIMENT,
        predict.EXPERIMENT,
    )
}
"""Every experiment that `launch/train.py` runs, by `config.experiment`."""


def find_experiment(name: Any) -> harness.Experiment:
    """Return the experiment of that name; refuses another, and tells the known ones."""
    if name not in EXPERIMENTS:
        raise ValueError(
            f"config.experiment is {name!r}, known are {', '.join(EXPERIMENTS)}."
        )
    return EXPERIMENTS[name]


def check_script(config: Any, script: str) -> None:
    """Refuse a config that another script takes; `script` is such as "train.py"."""
    name = config.get("experiment")
    if name in EXPERIMENTS:
        right = "train.py"
    elif name == "make_classifier_zoo" or (name is None and "fits_per_image" in config):
        right = "make_zoo.py"
    elif name == "reproduce":
        right = "reproduce.py"
    else:
        return
    if right != script:
        raise ValueError(
            f"config.experiment is {name!r}, which launch/{script} does not take: give"
            f" it to launch/{right}."
        )
