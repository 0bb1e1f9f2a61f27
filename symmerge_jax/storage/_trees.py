"""Checkpoints that are trees: flax msgpack files and orbax folders."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import serialization

from symmerge_jax import files
from symmerge_jax.storage import _tensor_names
from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named

_Path = tuple[str | int, ...]
_DAMAGE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(MemoryError, OverflowError, RecursionError),
)
"""What msgpack and numpy raise for one damaged byte or another."""


def _read_msgpack(path: pathlib.Path, key: str | None) -> Checkpoint:
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
    except _DAMAGE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"'{path}' is damaged or no msgpack of flax ({what}).") from (
            error
        )
    return _checkpoint(path, MSGPACK, tree, lambda leaf: isinstance(leaf, np.ndarray))


def _rewrite_msgpack(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    tree = _with_arrays(like, dict(arrays))
    target.write_bytes(serialization.msgpack_serialize(tree, in_place=True))


def _create_msgpack(target: pathlib.Path, content: Checkpoint) -> None:
    tree = jax.tree.map(np.asarray, _tree_of(target, content))
    target.write_bytes(serialization.msgpack_serialize(tree, in_place=True))


def _read_orbax(path: pathlib.Path, key: str | None) -> Checkpoint:
    import orbax.checkpoint as ocp

    with files.quiet_orbax(ocp.PyTreeCheckpointHandler) as checkpointer:
        try:
            found = checkpointer.metadata(path.absolute()).item_metadata.tree
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            what = " ".join(str(error).split())[:200]
            raise ValueError(
                f"'{path}' is damaged or no checkpoint of orbax ({what})."
            ) from error

    def opened(place: _Path, leaf: Any) -> Any:
        read = functools.partial(_restore, path, found, place)
        if type(leaf).__name__ != "ArrayMetadata":
            return read()
        return files.LazyArray(tuple(leaf.shape), np.dtype(leaf.dtype), read)

    tree = _map(opened, found)
    return _checkpoint(path, ORBAX, tree, lambda x: isinstance(x, files.LazyArray))


def _restore(path: pathlib.Path, tree: Any, place: _Path) -> Any:
    """Read one leaf of a folder, as it is stored."""
    import orbax.checkpoint as ocp

    wanted = _map(lambda p, x: x if p == place else ocp.PLACEHOLDER, tree)
    options = jax.tree.map(
        lambda x: ocp.RestoreArgs(
            restore_type=np.ndarray if type(x).__name__ == "ArrayMetadata" else None
        ),
        wanted,
    )
    arguments = ocp.args.PyTreeRestore(item=wanted, restore_args=options)  # pyright: ignore
    with files.quiet_orbax(ocp.PyTreeCheckpointHandler) as checkpointer:
        found = checkpointer.restore(path.absolute(), args=arguments)
    return next(leaf for p, leaf in _leaves(found) if p == place)


def _rewrite_orbax(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    _write_orbax(target, _with_arrays(like, dict(arrays)))


def _create_orbax(target: pathlib.Path, content: Checkpoint) -> None:
    _write_orbax(target, jax.tree.map(np.asarray, _tree_of(target, content)))


def _write_orbax(target: pathlib.Path, tree: Any) -> None:
    import orbax.checkpoint as ocp

    target.rmdir()  # orbax makes it
    handler = ocp.PyTreeCheckpointHandler
    with files.plain_orbax_errors(target), files.quiet_orbax(handler) as checkpointer:
        checkpointer.save(target.absolute(), args=ocp.args.PyTreeSave(tree))  # pyright: ignore


def is_orbax(folder: pathlib.Path) -> bool:
    """Return whether a folder is a checkpoint of orbax."""
    return (folder / "_METADATA").is_file()


def _checkpoint(
    path: pathlib.Path, form: Format, tree: Any, is_tensor: Callable[[Any], bool]
) -> Checkpoint:
    """Return the checkpoint of a tree, by the escaped names of its leaves."""
    tensors, others, places = {}, {}, {}
    for place, leaf in _leaves(tree):
        name = "/".join(_tensor_names.escape(str(key), path) for key in place)
        if name in places:
            raise ValueError(f"'{path}': two leaves are called '{name}'.")
        places[name] = place
        (tensors if is_tensor(leaf) else others)[name] = leaf
    if not tensors:
        raise ValueError(f"'{path}' holds no tensors.")
    return Checkpoint(
        path=path,
        format=form.name,
        tensors=tensors,
        metadata=others,
        is_escaped=True,
        layout=(tree, places),
    )


def _with_arrays(like: Checkpoint, arrays: Mapping[str, Any]) -> Any:
    """Return the tree of a checkpoint with other arrays in some places."""
    tree, places = like.layout
    changed = {places[name]: array for name, array in arrays.items()}

    def leaf_at(place: _Path, leaf: Any) -> Any:
        leaf = changed.get(place, leaf)
        return np.asarray(leaf) if isinstance(leaf, files.LazyArray) else leaf

    return _map(leaf_at, tree)


def _check_content(content: Checkpoint) -> None:
    """Refuse what nested dicts of arrays cannot hold."""
    if content.metadata:
        raise ValueError(
            f"a tree cannot hold {min(content.metadata)!r}, which is no tensor: write"
            " the format that it comes from."
        )
    _tree_of(content.path, content)


def _tree_of(target: pathlib.Path, content: Checkpoint) -> dict[str, Any]:
    """Return nested dicts of tensors that had another format."""
    tensors = content.tensors
    return _tensor_names.unflatten(tensors, target, is_escaped=content.is_escaped)


def _leaves(tree: Any, place: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for key, child in _children(tree):
        if _children(child):
            yield from _leaves(child, (*place, key))
        elif not isinstance(child, dict | list | tuple):
            yield (*place, key), child


def _map(function: Callable[[_Path, Any], Any], tree: Any, place: _Path = ()) -> Any:
    """Return a tree like another; empty containers and None stay."""
    if isinstance(tree, dict):
        return {k: _map(function, x, (*place, k)) for k, x in tree.items()}
    if isinstance(tree, list | tuple):
        return [_map(function, x, (*place, k)) for k, x in enumerate(tree)]
    return None if tree is None else function(place, tree)


def _children(tree: Any) -> list[tuple[str | int, Any]]:
    if isinstance(tree, dict):
        return list(tree.items())
    return list(enumerate(tree)) if isinstance(tree, list | tuple) else []


MSGPACK = Format(
    "flax msgpack",
    (".msgpack",),
    None,
    _read_msgpack,
    _rewrite_msgpack,
    _check_content,
    _create_msgpack,
)
ORBAX = Format(
    "orbax",
    (".orbax",),
    is_orbax,
    _read_orbax,
    _rewrite_orbax,
    _check_content,
    _create_orbax,
)
