"""Nested parameters as named tensors, and back to the same tree.

A name is the keys that lead to a tensor, joined by "/". In keys, "~" is written "~0"
and "/" is written "~1" (as in JSON pointers, RFC 6901), so that `mlp/~/linear_0` of
Haiku is one key again.
"""

import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_MAX_DEPTH = 100
_MAX_NAME = 60_000  # bytes; a zip file has room for 65,535


def flatten(params: Any, path: Any) -> dict[str, np.ndarray]:
    """Return the tensors of nested mappings by name; messages name the file `path`.

    Refuses what would come back from the file as something else.
    """
    if not isinstance(params, Mapping):
        raise TypeError(
            f"'{path}': a file holds nested dicts of arrays, got"
            f" {type(params).__name__}: give every part a name, as in"
            " {'dense_0': {'kernel': W, 'bias': b}}."
        )
    return dict(_leaves(params, path, ()))


def unflatten(
    arrays: Mapping[str, Any], path: Any, *, is_escaped: bool
) -> dict[str, Any]:
    """Return the nested dict whose tensors have these names.

    In our own files names are escaped: "~0" and "~1" stand for "~" and "/".
    """
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        if len(parents) >= _MAX_DEPTH:
            raise ValueError(
                f"'{path}': tensor '{name[:60]}...' is nested more than"
                f" {_MAX_DEPTH} deep."
            )
        node = tree
        for key in parents:
            node = node.setdefault(unescape(key) if is_escaped else key, {})
            if not isinstance(node, dict):
                raise ValueError(f"'{path}': tensor '{name}' lies within another one.")
        last = unescape(last) if is_escaped else last
        if last in node:
            raise ValueError(f"'{path}': another tensor lies within '{name}'.")
        node[last] = array
    return tree


def _leaves(
    tree: Mapping[Any, Any], path: Any, parents: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    where = f"'{'/'.join(parents)}'" if parents else "the whole"
    if not tree:
        raise ValueError(
            f"'{path}': {where} is an empty dict, which would not come back: leave it"
            " out, or give it a tensor."
        )
    if len(parents) >= _MAX_DEPTH:
        raise ValueError(
            f"'{path}': dicts are nested more than {_MAX_DEPTH} deep at"
            f" '{'/'.join(parents)[:60]}...'."
        )
    for key, value in tree.items():
        if not isinstance(key, str):
            raise ValueError(
                f"'{path}': key {key!r} of {where} is of type {type(key).__name__} and"
                f" would come back as text: rename it to '{key}'."
            )
        names = (*parents, escape(key, path))
        if isinstance(value, Mapping):
            yield from _leaves(value, path, names)
        else:
            yield "/".join(names), _array(value, path, "/".join(names))


def _array(value: Any, path: Any, name: str) -> np.ndarray:
    if not hasattr(value, "__array__") and not isinstance(value, numbers.Number):
        raise TypeError(
            f"'{path}': '{name}' is of type {type(value).__name__}, not an array: make"
            " it one, or a dict of arrays with a name each."
        )
    return np.asarray(value, order="C")


def escape(key: str, path: Any) -> str:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded or len(encoded) > _MAX_NAME:
        raise ValueError(f"'{path}': no file can hold the key {key[:60]!r}: rename it.")
    return key.replace("~", "~0").replace("/", "~1")


def unescape(key: str) -> str:
    return key.replace("~1", "/").replace("~0", "~")
