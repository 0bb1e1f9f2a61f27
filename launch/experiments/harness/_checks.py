"""Checks of values that the configs of several experiments share."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from experiments.harness import _config


def at_least(config: _config.Config, prefix: str = "config", /, **least: int) -> None:
    """Raise ValueError for the first key whose value is below its least.

    Messages call the config by the prefix.
    """
    for key, value in least.items():
        if config[key] < value:
            raise ValueError(f"{prefix}.{key} must be >= {value}, got {config[key]}.")


def check_midpoint(config: _config.Config) -> None:
    """Raise ValueError unless the middle of a path is one of its `num_points`."""
    if config.num_points < 3 or config.num_points % 2 == 0:
        raise ValueError(
            "config.num_points must be odd and >= 3, so that the midpoint is one of"
            f" them, got {config.num_points}."
        )


def each_once(key: str, names: Sequence[str], known: Collection[str]) -> None:
    """Raise ValueError unless names are some of the known ones, each once."""
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ValueError(
            f"config.{key} must name some of {', '.join(known)}, each once, got"
            f" {tuple(names)}."
        )


def refuse_unused(
    config: _config.Config,
    defaults: _config.Config,
    keys: Iterable[str],
    because: str,
    *,
    fulfilled: Mapping[str, Any] | None = None,
) -> None:
    """Raise ValueError for keys that nothing reads, unless they are at their defaults.

    Args:
      config: the checked values.
      defaults: those of `default_config`.
      keys: dotted keys, or groups of them, that nothing reads.
      because: the setting that makes it so, as `encoder.kind='probe'`.
      fulfilled: values, by dotted key, that are true without being read.
    """
    usual, given = (dict(_config.flatten_config(group)) for group in (defaults, config))
    keys, fulfilled = tuple(keys), fulfilled or {}
    unused = [
        f"{name}={value!r}"
        for name, value in given.items()
        if any(name == key or name.startswith(f"{key}.") for key in keys)
        if value != usual[name] and (name not in fulfilled or value != fulfilled[name])
    ]
    if unused:
        raise ValueError(
            f"{', '.join(unused)} would be ignored with {because}: omit one of them."
        )
