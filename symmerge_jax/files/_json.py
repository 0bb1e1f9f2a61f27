"""JSON of unknown origin: no deep nesting, no duplicate names, sealed by a digest."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"
"""Key of the digest in a sealed description."""

_LONGEST = 1000


def parse_json(text: str | bytes, path: str | os.PathLike) -> Any:
    """Return the value of a JSON text.

    Args:
      text: the text.
      path: its file, for messages.

    Returns:
      The value.

    Raises:
      ValueError: invalid JSON, nested too deeply, or a duplicate name; names the file.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError(
            f"'{path}' is damaged: its JSON is nested too deeply."
        ) from None
    except ValueError as error:
        raise ValueError(f"'{path}' is damaged: no sound JSON ({error}).") from error


def seal(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the SHA-256 of its content added as `sha256`."""
    return {**description, SEAL: _digest(description)}


def check_seal(
    description: Mapping[str, Any], path: str | os.PathLike, *, required: bool
) -> None:
    """Refuse a JSON object that was changed after `seal`.

    Args:
      description: the object.
      path: its file, for messages.
      required: whether one without a digest is refused, too.

    Raises:
      ValueError: if it has been changed; names the file.
    """
    if SEAL in description or required:
        content = {name: x for name, x in description.items() if name != SEAL}
        compare_digests(path, description.get(SEAL), _digest(content))


def check_lengths(
    description: Any, path: str | os.PathLike, *, num_tensors: int
) -> None:
    """Refuse a description with far more layers than its file has tensors.

    Building such a network would take much time and memory before it fails.

    Args:
      description: JSON values.
      path: its file, for messages.
      num_tensors: in the file. Lists and numbers of layers up to 1000 always pass.

    Raises:
      ValueError: names the file and the entry.
    """
    limit = max(_LONGEST, num_tensors + 1)
    values = [("", description)]
    while values:
        name, value = values.pop()
        size = len(value) if isinstance(value, list) else 0
        if isinstance(value, int) and ("layers" in name or "blocks" in name):
            size = value
        if size > limit:
            raise ValueError(
                f"'{path}' is damaged: {name!r} describes {size} layers, but the file"
                f" has {num_tensors} tensors."
            )
        if isinstance(value, Mapping):
            values += [(str(key), entry) for key, entry in value.items()]
        elif isinstance(value, list):
            values += [(name, entry) for entry in value if isinstance(entry, list)]


def compare_digests(path: str | os.PathLike, stored: Any, found: str) -> None:
    """Refuse a file whose content has changed since its digest was stored."""
    if stored != found:
        raise ValueError(
            f"'{path}' is damaged: its content does not have the checksum in it."
        )


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return JSON that is the same for equal values, to be digested."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found
