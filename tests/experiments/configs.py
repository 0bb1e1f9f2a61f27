"""The configs that the project ships, for tests."""

import pathlib

from experiments.harness import _config

CONFIGS = pathlib.Path(__file__).parents[2] / "launch" / "configs"


def load(name, variant=""):
    """Return the config of `name`.py in launch/configs."""
    return _config.load_config_file(CONFIGS / f"{name}.py:{variant}")
