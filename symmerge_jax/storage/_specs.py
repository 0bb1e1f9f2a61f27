"""Symmetry specs in JSON files, sealed by a digest."""

import dataclasses
import json
import os
from fractions import Fraction
from typing import Any

from symmerge_jax import files, symmetry
from symmerge_jax.storage import _checkpoint

_FORMAT = {"format": "symmerge_jax.spec", "version": 1}


def save_spec(path: str | os.PathLike, spec: symmetry.SymmetrySpec) -> None:
    """Write a spec to a JSON file, completely or not at all.

    Args:
      path: the file.
      spec: the spec.

    Raises:
      OSError: the file cannot be written; names it.

    Example:
      >>> import tempfile
      >>> from symmerge_jax import networks
      >>> spec = networks.mlp((2, 8, 1)).spec
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save_spec(folder + "/spec.json", spec)
      ...     load_spec(folder + "/spec.json") == spec
      True
    """
    content = {
        **_FORMAT,
        "spaces": [_plain(space) for space in spec.spaces],
        "axes": [[list(where), _plain(axes)] for where, axes in spec.axes],
        "statistics": [list(where) for where in spec.statistics],
        "statistics_weight": spec.statistics_weight,
    }
    text = json.dumps(files.seal(content), indent=1) + "\n"
    with files.replacing(_checkpoint.expand(path)) as file:
        file.write(text.encode())


def load_spec(path: str | os.PathLike) -> symmetry.SymmetrySpec:
    """Read a spec that `save_spec` wrote.

    Args:
      path: the file.

    Returns:
      The spec.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or no spec; names it.
    """
    path = _checkpoint.expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such file: '{path}'.")
    content = files.parse_json(path.read_bytes(), path)
    stamp = content if isinstance(content, dict) else {}
    if {name: stamp.get(name) for name in _FORMAT} != _FORMAT:
        raise ValueError(
            f"'{path}' is no spec of version {_FORMAT['version']}: write one with"
            " symmerge-jax trace --out, or storage.save_spec."
        )
    files.check_seal(content, path, required=True)
    return symmetry.SymmetrySpec(
        tuple((tuple(where), _axes(axes)) for where, axes in content["axes"]),
        tuple(_space(space) for space in content["spaces"]),
        tuple(tuple(where) for where in content["statistics"]),
        content["statistics_weight"],
    )


def _plain(value: Any) -> Any:
    """Return a part of a spec as JSON values; what is as by default is left out."""
    if isinstance(value, symmetry.Group):
        return value.value
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        found = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.default is dataclasses.MISSING or item != field.default:
                found[field.name] = _plain(item)
        return found
    return value


def _space(content: dict[str, Any]) -> symmetry.Space:
    return symmetry.Space(**{**content, "over": tuple(content.get("over", ()))})


def _axes(content: list[Any]) -> tuple[Any, ...]:
    return tuple(_layout(axis) for axis in content)


def _layout(content: Any) -> Any:
    """Return an axis, blocks of axes, a number of entries or None."""
    if not isinstance(content, dict):
        return content
    if "pieces" in content:
        return symmetry.Blocks(tuple(_axes(piece) for piece in content["pieces"]))
    also = tuple((name, _power(power)) for name, power in content.get("also", ()))
    power = _power(content.get("power", 1))
    return symmetry.Axis(**{**content, "power": power, "also": also})


def _power(value: int | str) -> int | Fraction:
    return Fraction(value) if isinstance(value, str) else value
