"""Every experiment that `launch/train.py` can run, by the name in its config."""

import importlib
from types import ModuleType
from typing import Any

EXPERIMENTS = (
    "autoencode",
    "autoencode_classifiers",
    "deep_align",
    "failure_mode",
    "interpolate",
    "map_latents",
    "merge_cnns",
    "merge_mlps",
    "predict",
)
"""Modules of this package with `default_config`, `run(config, workdir)`, `table` and
`MAY_CHANGE`, keys beside those of `_workdir.MAY_CHANGE` that may differ when a run is
resumed; those that train a model also have `evaluate(workdir)`, and those that export
one for others `check_output(workdir)`, which raises an error if it is damaged."""


def find_experiment(name: Any) -> ModuleType:
    """Return the module of an experiment, which is imported only now.

    Args:
      name: `config.experiment`, one of `EXPERIMENTS`.

    Returns:
      The module.

    Raises:
      ValueError: for another name; tells the known ones.
    """
    if name not in EXPERIMENTS:
        raise ValueError(
            f"config.experiment is {name!r}, known are {', '.join(EXPERIMENTS)}."
        )
    return importlib.import_module(f"symmerge_jax.experiments.{name}")


def check_script(config: Any, script: str) -> None:
    """Refuse a config that another script takes.

    Args:
      config: the config.
      script: name of the script that was given it, such as "train.py".

    Raises:
      ValueError: names the script that takes it.
    """
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
