"""Keys of a config that were set although another key makes them mean nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.harness import _config


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
    usual, given = (dict(_config.flatten(group)) for group in (defaults, config))
    keys, fulfilled = tuple(keys), fulfilled or {}
    unused = [
        f"{name}={value!r}"
        for name, value in given.items()
        if any(name == key or name.startswith(f"{key}.") for key in keys)
        if value != usual[name] and (name not in fulfilled or value != fulfilled[name])
    ]
    if unused:
        raise ValueError(
            f"config has {because}, beside which {', '.join(unused)} would be ignored:"
            " leave the one or the others away."
        )
