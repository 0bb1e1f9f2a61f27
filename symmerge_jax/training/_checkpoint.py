"""Checkpoints of a training state: atomic, rotating, exact, with plain errors.

A checkpoint is the folder `<folder>/<step>`. It holds what orbax writes for the items
`params`, `ema_params` (if any) and `rest` (step, optimizer state, key), and
`checkpoint.json`: the caller's metadata, names, shapes and dtypes of all arrays, size
and CRC-32 of all files. It is written under a temporary name and then renamed. Files
are checked before orbax reads them, so that damage ends in one clear message.

Parameters are items of their own: a model loads without its optimizer. Arrays are
stored as they are on the host: a run may resume on another number of devices.
"""

import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from symmerge_jax import files
from symmerge_jax.training._state import TrainState

_RECORD = "checkpoint.json"


def checkpoint_steps(folder: str | os.PathLike) -> tuple[int, ...]:
    """Return the steps of the checkpoints in a folder, sorted.

    A missing folder has none. What an interrupted write left behind does not count.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())
    )


def save_checkpoint(
    folder: str | os.PathLike,
    state: TrainState,
    *,
    metadata: Mapping[str, Any] | None = None,
    keep: int = 2,
) -> pathlib.Path:
    """Write a state to `<folder>/<step>` and remove the oldest checkpoints.

    The new checkpoint is complete before an old one is removed. A checkpoint of the
    same step that exists already is kept as it is: a run is deterministic.

    Args:
      folder: folder of the checkpoints, made if missing.
      state: the state to store.
      metadata: JSON values to store beside it.
      keep: number of checkpoints that stay, the new one included.

    Returns:
      The folder of the checkpoint.

    Raises:
      ValueError: `keep` is below 1.
      TypeError: the metadata are not JSON.
      OSError: it cannot be written, e.g. without space; names the checkpoint.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}.")
    content = {"format": 1, "metadata": dict(metadata or {})}
    json.dumps(content)
    folder = pathlib.Path(folder).absolute()
    step = int(state.step)
    path = folder / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write(path, _items(state), content)
    others = [other for other in checkpoint_steps(folder) if other != step]
    for other in others[: len(others) - (keep - 1)]:
        _remove(folder / str(other))
    return path


def restore_checkpoint(
    folder: str | os.PathLike, state: TrainState, *, step: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Read a checkpoint back, bit for bit.

    Args:
      folder: folder given to `save_checkpoint`.
      state: a state of the same structure, e.g. the initial one: its shapes and dtypes
        are checked and its shardings are used.
      step: the checkpoint to read; the latest if None.

    Returns:
      The state and the metadata that were saved.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: the checkpoint is damaged or of another structure.
    """
    path, content = _open(folder, step)
    items = _items(state)
    _check_structure(path, content["leaves"], items)
    trees = {name: _read_item(path, content, name, items[name]) for name in items}
    trees = jax.tree.map(
        lambda value, like: jax.device_put(value, like.sharding), trees, items
    )
    rest = trees["rest"]
    key = jax.random.wrap_key_data(rest["key"], impl=jax.random.key_impl(state.key))
    restored = TrainState(
        step=rest["step"],
        params=trees["params"],
        opt_state=rest["opt_state"],
        ema_params=trees.get("ema_params"),
        key=jax.device_put(key, state.key.sharding),
    )
    return restored, content["metadata"]


def load_params(
    folder: str | os.PathLike, *, step: int | None = None, ema: bool = True
) -> tuple[PyTree, dict[str, Any]]:
    """Read the parameters of a checkpoint alone, without knowing the optimizer.

    Args:
      folder: folder given to `save_checkpoint`.
      step: the checkpoint to read; the latest if None.
      ema: take the moving average if the checkpoint has one.

    Returns:
      The nested dict of parameters (numpy arrays) and the metadata.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: the checkpoint is damaged.
    """
    path, content = _open(folder, step)
    name = "ema_params" if ema and "ema_params" in content["leaves"] else "params"
    return _read_item(path, content, name), content["metadata"]


def load_metadata(
    folder: str | os.PathLike, *, step: int | None = None
) -> dict[str, Any]:
    """Return the metadata of a checkpoint alone; errors as in `load_params`.

    Args:
      folder: folder given to `save_checkpoint`.
      step: the checkpoint to read; the latest if None.

    Returns:
      The JSON values that were stored beside the state.
    """
    return _open(folder, step)[1]["metadata"]


def _items(state: TrainState) -> dict[str, PyTree]:
    rest = {
        "step": state.step,
        "opt_state": state.opt_state,
        "key": jax.random.key_data(state.key),
    }
    items = {"params": state.params, "rest": rest}
    if state.ema_params is not None:
        items["ema_params"] = state.ema_params
    return items


def _write(path: pathlib.Path, items: dict[str, PyTree], content: dict) -> None:
    for leftover in path.parent.glob("[0-9]*.tmp"):
        shutil.rmtree(leftover)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with files.naming(path), files.plain_orbax_errors(path):
            _fill(temporary, items, content)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: pathlib.Path, items: dict[str, PyTree], content: dict) -> None:
    """Write a new folder with all that is in a checkpoint."""
    import orbax.checkpoint as ocp

    folder.mkdir()
    with files.quiet_orbax() as checkpointer:
        for name, tree in items.items():
            arguments = ocp.args.StandardSave(jax.device_get(tree))  # pyright: ignore
            checkpointer.save(folder / name, args=arguments)
    written = sorted(file for file in folder.rglob("*") if file.is_file())
    content = {
        **content,
        "leaves": {name: _describe(tree) for name, tree in items.items()},
        "files": {
            file.relative_to(folder).as_posix(): _fingerprint(file) for file in written
        },
    }
    record = {"crc32": _crc32(content), "content": content}
    (folder / _RECORD).write_text(json.dumps(record), "utf-8")


def _remove(path: pathlib.Path) -> None:
    doomed = path.with_name(f"{path.name}.tmp")  # a half-removed one must not count
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def _open(
    folder: str | os.PathLike, step: int | None
) -> tuple[pathlib.Path, dict[str, Any]]:
    """Return the folder of a checkpoint and the content of its record."""
    folder = pathlib.Path(folder).absolute()
    steps = checkpoint_steps(folder)
    if not steps:
        raise FileNotFoundError(
            f"No checkpoint in {folder}: check the path, or train first."
        )
    step = steps[-1] if step is None else step
    if step not in steps:
        raise FileNotFoundError(
            f"No checkpoint of step {step} in {folder}: it has the steps"
            f" {', '.join(map(str, steps))}."
        )
    path = folder / str(step)
    try:
        record = files.parse_json((path / _RECORD).read_bytes(), path / _RECORD)
        if record["crc32"] == _crc32(record["content"]):
            return path, record["content"]
    except FileNotFoundError:
        raise _damaged(path, f"its file {_RECORD} is missing") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise _damaged(path, f"its file {_RECORD} was cut off or changed")


def _read_item(
    path: pathlib.Path, content: dict, name: str, like: PyTree | None = None
) -> PyTree:
    """Read one item; `like` gives its structure, None the file's own."""
    import orbax.checkpoint as ocp

    for file, fingerprint in content["files"].items():
        if file.startswith(f"{name}/"):
            if not (path / file).is_file():
                raise _damaged(path, f"its file {file} is missing")
            if _fingerprint(path / file) != fingerprint:
                raise _damaged(path, f"its file {file} was cut off or changed")
    target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
    arguments = ocp.args.StandardRestore(target)  # pyright: ignore
    with files.quiet_orbax() as checkpointer:
        return checkpointer.restore(path / name, args=arguments)


def _damaged(path: pathlib.Path, reason: str) -> ValueError:
    others = [step for step in checkpoint_steps(path.parent) if step != int(path.name)]
    remedy = f"resume from step {others[-1]}" if others else "start again"
    return ValueError(
        f"Checkpoint {path} is damaged: {reason}; delete this folder to {remedy}."
    )


def _check_structure(path: pathlib.Path, stored: dict, items: dict) -> None:
    if ("ema_params" in stored) != ("ema_params" in items):
        has, keeps = ("a", "none") if "ema_params" in stored else ("no", "one")
        raise ValueError(
            f"Checkpoint {path} holds {has} moving average of the parameters and this"
            f" run keeps {keeps}: set ema_decay as in the run that wrote it, or use"
            " another folder."
        )
    for name, tree in items.items():
        there, here = stored[name], _describe(tree)
        for leaf in sorted(there.keys() | here.keys()):
            if there.get(leaf) != here.get(leaf):
                raise ValueError(
                    f"Checkpoint {path} is of another model or optimizer:"
                    f" {name}/{leaf} is {there.get(leaf, 'absent')} in the checkpoint"
                    f" and {here.get(leaf, 'absent')} in this run. Use the"
                    " configuration that wrote it, or another folder."
                )


def _describe(tree: PyTree) -> dict[str, str]:
    """Return dtype and shape of each leaf, as `float32[3, 4]`, by its name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _fingerprint(file: pathlib.Path) -> list[int]:
    data = file.read_bytes()
    return [len(data), zlib.crc32(data)]


def _crc32(content: Any) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
