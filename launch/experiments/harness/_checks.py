"""Checks of values that the configs of several experiments have."""

from experiments.harness import _config


def at_least(config: _config.Config, prefix: str = "config", /, **least: int) -> None:
    """Raise ValueError for the first key whose value is below its least.

    Messages call the config by the prefix.
    """
    for key, value in least.items():
        if config[key] < value:
            raise ValueError(f"{prefix}.{key} must be >= {value}, got {config[key]}.")


def midpoint(config: _config.Config) -> None:
    """Raise ValueError unless the middle of a path is one of its `num_points`."""
    if config.num_points < 3 or config.num_points % 2 == 0:
        raise ValueError(
            "config.num_points must be odd and >= 3, so that the midpoint is one of"
            f" them, got {config.num_points}."
        )
