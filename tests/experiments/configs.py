"""The configs that the project ships, for tests."""

import pathlib

from experiments import harness

CONFIGS = pathlib.Path(__file__).parents[2] / "launch" / "configs"


def load(name, variant=""):
    """Return the config of `name`.py in launch/configs."""
    return harness.load_config_file(CONFIGS / f"{name}.py:{variant}")
