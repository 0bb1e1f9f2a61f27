"""Configs: typed by their defaults, unknown keys refused with the nearest names.

A config is an `ml_collections.ConfigDict`. It comes from a Python file with a
function `get_config()`, or `get_config(variant)` for `file.py:variant`, and
flags override it: `--config.num_steps=100`.
"""

import ast
import difflib
import functools
import hashlib
import importlib.util
import inspect
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import ml_collections

from experiments.harness import _files

PathLike = str | pathlib.Path
R = TypeVar("R")
ConfigDict = ml_collections.ConfigDict

Config = Any
"""A `ConfigDict`, whose values have no static types."""


def check_config(config: ConfigDict, defaults: ConfigDict) -> ConfigDict:
    """Return a config with all keys of its defaults; refuses what they do not know.

    An int passes for a float, a tuple for a list and the other way round, and anything
    for a default of None. None passes only where the default is None; a
    `config_dict.placeholder(type)` takes None or that type. A group that is empty in
    the defaults takes text under any names.

    Args:
      config: the values that were given.
      defaults: every key that exists, with a value of its type.

    Raises:
      ValueError: an unknown key; names the nearest ones.
      TypeError: a value of another type; names both types.

    Example:
      >>> defaults = ConfigDict({"num_steps": 100, "model": {"width": 32}})
      >>> check_config(ConfigDict({"model": {"width": 64}}), defaults).model.width
      64
      >>> check_config(ConfigDict({"num_step": 5}), defaults)
      Traceback (most recent call last):
      ValueError: unknown config key 'num_step': did you mean 'num_steps'?
    """
    result = defaults.copy_and_resolve_references()
    for key, value in flatten_config(config):
        if _is_free(key, defaults):
            group, name = _group(result, key)
            group[name] = _converted(key, value, "", str)
            continue
        check_key(key, defaults)
        typed, name = _group(defaults, key)  # the copy forgets types of placeholders
        group, _ = _group(result, key)
        group[name] = _converted(key, value, typed[name], typed.get_type(name))
    return result


def check_key(key: str, defaults: ConfigDict) -> None:
    """Raise ValueError with the nearest names unless the defaults have a dotted key."""
    known = [name for name, _ in flatten_config(defaults)] + [*_empty_groups(defaults)]
    groups = {name[:i] for name in known for i, c in enumerate(name) if c == "."}
    if key in groups or key in known or _is_free(key, defaults):
        return
    near = difflib.get_close_matches(key, known, n=3)
    last = key.rpartition(".")[2]
    near += [name for name in known if name.rpartition(".")[2] == last]
    names = " or ".join(repr(name) for name in dict.fromkeys(near))
    if names:
        raise ValueError(f"unknown config key {key!r}: did you mean {names}?")
    raise ValueError(
        f"unknown config key {key!r}: the keys are {', '.join(sorted(known))}"
    )


def override_config(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    """Return a config with values given as text, as on a command line.

    Args:
      config: the config; not changed.
      overrides: text by dotted key. Text for a string is taken as it is, other text
        is read as a Python literal; `true`, `false` and `none` may be lower case.
        `none` empties a key of any type, which the experiment may then refuse.

    Raises:
      ValueError: an unknown key; names the nearest ones.
      TypeError: text of another type; names both types.

    Example:
      >>> config = ConfigDict({"num_steps": 100, "model": {"sizes": (2, 1)}})
      >>> override_config(config, {"model.sizes": "2,8,1"}).model.sizes
      (2, 8, 1)
    """
    given, emptied = ConfigDict(), []
    for key, text in overrides.items():
        check_key(key, config)
        if text.lower() == "none" and not _is_free(key, config):
            emptied.append(key)
            continue
        value: Any = text
        if not _is_free(key, config):
            typed, name = _group(config, key)
            value = text if typed.get_type(name) is str else _parsed(text)
        if isinstance(value, dict):
            _check_names(key, value)
            if not value and key not in _empty_groups(config):
                raise ValueError(
                    f"config key {key!r} is a group of keys, and {{}} changes none of"
                    f" them: set them one by one, as {key}.NAME=value"
                )
        elif key in _empty_groups(config):
            value = _converted(key, value, None, ConfigDict)
        for part in reversed(key.split(".")):
            value = {part: value}
        given.update(value)
    result = check_config(given, config)
    with result.ignore_type():
        for key in emptied:
            group, name = _group(result, key)
            group[name] = None
    return result


def flatten_config(
    config: ConfigDict | Mapping, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield `(dotted key, value)` for each value of a nested config."""
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            yield from flatten_config(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def load_config_file(path: PathLike) -> ConfigDict:
    """Return what `get_config()` of `file.py`, or `file.py:variant`, returns.

    Raises:
      FileNotFoundError: no such file; names the nearest ones.
      ValueError: a file that is not Python, has no `get_config`, refuses the variant,
        or returns something else.
    """
    name, _, variant = str(path).partition(":")
    file = pathlib.Path(name)
    if not file.is_file():
        others = [other.name for other in sorted(file.parent.glob("*.py"))]
        near = difflib.get_close_matches(file.name, others, n=3) or others
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise FileNotFoundError(f"no config file {file}{hint}")
    spec = importlib.util.spec_from_file_location(f"_config_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)  # pyright: ignore
    try:
        spec.loader.exec_module(module)  # pyright: ignore
    except SyntaxError as error:
        raise ValueError(f"config file {file} is not Python: {error}") from error
    if not callable(get_config := getattr(module, "get_config", None)):
        raise ValueError(f"config file {file} has no function get_config()")
    num_arguments = len(inspect.signature(get_config).parameters)
    if variant and not num_arguments:
        raise ValueError(f"config file {file} has no variants: omit {':' + variant!r}")
    try:
        config: Any = get_config(variant) if variant else get_config()
    except ValueError as error:
        raise ValueError(f"config file {file}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"config file {file}: get_config() returns {type(config).__name__}, not an"
            " ml_collections.ConfigDict"
        )
    return config


def variants(*names: str) -> Callable[[Callable[[str], R]], Callable[..., R]]:
    """Return a decorator of `get_config(variant)` that knows the variants.

    Args:
      *names: all variants; the first is the default.

    Returns:
      The decorator; other variants raise ValueError.

    Example:
      >>> @variants("default", "smoke")
      ... def get_config(variant: str):
      ...     return ConfigDict({"num_steps": 5 if variant == "smoke" else 100})
      >>> get_config().num_steps
      100
    """

    def decorate(get_config: Callable[[str], R]) -> Callable[..., R]:
        @functools.wraps(get_config)
        def checked(variant: str = names[0]) -> R:
            if variant not in names:
                known = " and ".join(", ".join(map(repr, names)).rsplit(", ", 1))
                raise ValueError(f"Variants are {known}, not {variant!r}.")
            return get_config(variant)

        return checked

    return decorate


def config_hash(config: ConfigDict) -> str:
    """Return 12 hex digits that are equal for equal configs, whatever the order."""
    text = json.dumps(plain_config(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save_config(path: PathLike, config: ConfigDict) -> None:
    """Write a config to a JSON file, unless it holds just that; tuples become lists."""
    path, content = pathlib.Path(path), plain_config(config)
    if not path.is_file() or path.read_bytes() != _files.json_bytes(content):
        _files.write_json(path, content)


def load_config(path: PathLike) -> ConfigDict:
    """Return the config in a file of `save_config`.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is not a JSON object.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no config in {path}: check the path, or train first")
    remedy = (
        "restore it, or delete its whole folder or choose another --workdir, and train"
        " again"
    )
    return ConfigDict(_files.read_object(path, remedy))


def plain_config(config: ConfigDict) -> dict[str, Any]:
    """Return a config as JSON has it: nested dicts, lists instead of tuples."""
    return json.loads(json.dumps(config.to_dict()))


def _empty_groups(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of each group without keys, which takes any."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            if not len(value):
                yield f"{prefix}{name}"
            yield from _empty_groups(value, f"{prefix}{name}.")


def _is_free(key: str, config: ConfigDict) -> bool:
    """Whether a dotted key may be added to a group without keys."""
    return key.rpartition(".")[0] in _empty_groups(config)


def _check_names(key: str, names: Mapping) -> None:
    for name in names:
        if not isinstance(name, str) or "." in name:
            raise ValueError(
                f"config key {key!r}: a name must be text without dots, got {name!r}"
            )


def _group(config: ConfigDict, key: str) -> tuple[Any, str]:
    """Return the group of keys that a dotted key is in, and its last part."""
    group: Any = config
    *parents, name = key.split(".")
    for parent in parents:
        group = group[parent]
    return group, name


def _parsed(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _converted(key: str, value: Any, default: Any, expected: Any) -> Any:
    if expected is type(None) or (value is None and default is None):
        return value
    if expected in (list, tuple) and isinstance(value, list | tuple):
        return expected(value)
    is_bool = isinstance(value, bool)  # a kind of int to Python
    if expected is float and isinstance(value, int) and not is_bool:
        return float(value)
    if isinstance(value, expected) and is_bool == (expected is bool):
        return value
    is_group = expected is ConfigDict
    kind = "a group of keys" if is_group else f"of type {expected.__name__}"
    raise TypeError(
        f"config key {key!r} must be {kind}, got {value!r} ({type(value).__name__})"
    )
