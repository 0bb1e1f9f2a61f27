"""Checkpoints of a training state: atomic, rotating, exact, read with plain errors.

A checkpoint is the folder ``<folder>/<step>``, written by orbax under a temporary
name and then renamed, with the items ``params``, ``ema_params`` (if any), ``rest``
(step, optimizer state, key data) and ``metadata`` (JSON). Parameters are items of
their own, so that a model is loaded without knowing its optimizer. Arrays are stored
as they are on the host: a run may go on with another number of devices.
"""

import contextlib
import logging
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from symmerge_jax.training._state import TrainState

PathLike = str | pathlib.Path


def checkpoint_steps(folder: PathLike) -> tuple[int, ...]:
    """Return the steps of the finished checkpoints in ``folder``, sorted.

    A missing folder has none; temporary folders of an interrupted write are left out.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())
    )


def save_checkpoint(
    folder: PathLike,
    state: TrainState,
    *,
    metadata: Mapping[str, Any] | None = None,
    keep: int = 2,
) -> pathlib.Path:
    """Write ``state`` to ``<folder>/<step>`` and drop all but ``keep`` checkpoints.

    The new checkpoint is complete before an old one is removed. A checkpoint of the
    same step that exists already is kept as it is: a run is deterministic.

    Args:
      folder: folder of the checkpoints, made when missing.
      state: the state to store.
      metadata: JSON values to store beside it.
      keep: number of checkpoints that stay, the new one and the latest others.

    Returns:
      The folder of the checkpoint.

    Raises:
      ValueError: when ``keep`` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    import orbax.checkpoint as ocp

    step = int(state.step)
    folder = pathlib.Path(folder).absolute()
    if step not in checkpoint_steps(folder):
        items = {name: jax.device_get(tree) for name, tree in _items(state).items()}
        record = {
            "leaves": {name: _describe(tree) for name, tree in items.items()},
            "metadata": dict(metadata or {}),
        }
        arguments = {
            name: ocp.args.StandardSave(tree)  # pyright: ignore[reportCallIssue]
            for name, tree in items.items()
        }
        arguments["metadata"] = ocp.args.JsonSave(record)  # pyright: ignore
        with _manager(folder, create=True) as manager:
            manager.save(step, args=ocp.args.Composite(**arguments), force=True)
    others = [other for other in checkpoint_steps(folder) if other != step]
    drop = others[: len(others) - (keep - 1)]
    if drop:
        with _manager(folder) as manager:
            for other in drop:
                manager.delete(other)
    return folder / str(step)


def restore_checkpoint(
    folder: PathLike, state: TrainState, *, step: int | None = None
) -> tuple[TrainState, dict[str, Any]]:
    """Read the latest checkpoint of ``folder`` back, bit for bit.

    Args:
      folder: folder given to :func:`save_checkpoint`.
      state: a state of the same structure, e.g. the initial one: its shapes and
        dtypes are checked and its shardings are used.
      step: the checkpoint to read; the latest when ``None``.

    Returns:
      The state and the metadata that were saved.

    Raises:
      FileNotFoundError: when there is no such checkpoint.
      ValueError: when the checkpoint is damaged or of another structure.
    """
    path = _find(folder, step)
    items = _items(state)
    trees, metadata = _read(path, items)
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
    return restored, metadata


def load_params(
    folder: PathLike, *, step: int | None = None, ema: bool = True
) -> tuple[PyTree, dict[str, Any]]:
    """Read only the parameters of a checkpoint, without knowing the optimizer.

    Args:
      folder: folder given to :func:`save_checkpoint`.
      step: the checkpoint to read; the latest when ``None``.
      ema: take the moving average where the checkpoint has one.

    Returns:
      The nested dict of parameters (numpy arrays) and the metadata.

    Raises:
      FileNotFoundError: when there is no such checkpoint.
      ValueError: when the checkpoint is damaged.
    """
    path = _find(folder, step)
    name = "ema_params" if ema and (path / "ema_params").is_dir() else "params"
    trees, metadata = _read(path, {name: None})
    return trees[name], metadata


def load_metadata(folder: PathLike, *, step: int | None = None) -> dict[str, Any]:
    """Read only the metadata of a checkpoint; errors as in :func:`load_params`."""
    return _read(_find(folder, step), {})[1]


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


def _find(folder: PathLike, step: int | None) -> pathlib.Path:
    folder = pathlib.Path(folder).absolute()
    steps = checkpoint_steps(folder)
    if not steps:
        raise FileNotFoundError(
            f"no checkpoint in {folder}: check the path, or train first"
        )
    step = steps[-1] if step is None else step
    if step not in steps:
        raise FileNotFoundError(
            f"no checkpoint of step {step} in {folder}: it has the steps "
            f"{', '.join(map(str, steps))}"
        )
    return folder / str(step)


def _read(
    path: pathlib.Path, expected: Mapping[str, PyTree | None]
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Read the named items; ``None`` takes the structure that the file has."""
    import orbax.checkpoint as ocp

    record = _restore_item(path, "metadata", ocp.args.JsonRestore())
    leaves, metadata = record["leaves"], record["metadata"]
    if "ema_params" in leaves and "rest" in expected and "ema_params" not in expected:
        raise ValueError(
            f"checkpoint {path} holds a moving average of the parameters and this run "
            "keeps none: switch ema_decay on, or use another folder"
        )
    trees = {}
    for name, tree in expected.items():
        if tree is not None:
            _check_structure(path, name, leaves.get(name), tree)
            tree = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
        trees[name] = _restore_item(path, name, ocp.args.StandardRestore(tree))
        if _describe(trees[name]) != leaves[name]:
            raise ValueError(_damaged(path, f"the arrays of {name!r} have changed"))
    return trees, metadata


def _restore_item(path: pathlib.Path, name: str, arguments: Any) -> Any:
    import orbax.checkpoint as ocp

    if not (path / name).is_dir():
        raise ValueError(_damaged(path, f"its folder {name!r} is missing"))
    try:
        with _manager(path.parent) as manager:
            composite = ocp.args.Composite(**{name: arguments})
            return manager.restore(int(path.name), args=composite)[name]
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            _damaged(path, f"{name!r} cannot be read: {reason}")
        ) from error


def _damaged(path: pathlib.Path, reason: str) -> str:
    others = [step for step in checkpoint_steps(path.parent) if step != int(path.name)]
    remedy = (
        f"delete this folder to go on from step {others[-1]}"
        if others
        else "delete this folder and start again"
    )
    return f"checkpoint {path} is damaged: {reason}; {remedy}"


def _check_structure(path: pathlib.Path, name: str, leaves: Any, tree: PyTree) -> None:
    if leaves is None:
        raise ValueError(
            f"checkpoint {path} has no {name!r}, which this run keeps: switch "
            "ema_decay off, or use another folder"
        )
    found = {leaf: (tuple(shape), dtype) for leaf, shape, dtype, _ in leaves}
    expected = {
        leaf: (value.shape, str(value.dtype)) for leaf, value in _named_leaves(tree)
    }
    for leaf in sorted(found.keys() | expected.keys()):
        if found.get(leaf) != expected.get(leaf):
            raise ValueError(
                f"checkpoint {path} is of another model or optimizer: {name}/{leaf} is "
                f"{_phrase(found.get(leaf))} in the checkpoint and "
                f"{_phrase(expected.get(leaf))} in this run; use the configuration "
                "that wrote it, or another folder"
            )


def _phrase(leaf: tuple | None) -> str:
    return "absent" if leaf is None else f"{leaf[1]}{list(leaf[0])}"


def _describe(tree: PyTree) -> list[list]:
    """Describe each leaf by name, shape, dtype and CRC-32 of its bytes."""
    return [
        [
            name,
            list(value.shape),
            str(value.dtype),
            zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data),
        ]
        for name, value in _named_leaves(tree)
    ]


def _named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@contextlib.contextmanager
def _manager(folder: pathlib.Path, create: bool = False) -> Iterator[Any]:
    """Open orbax's manager without its log lines, and close it without leftovers."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        create=create,
        max_to_keep=None,
        cleanup_tmp_directories=create,
        enable_async_checkpointing=False,
    )
    logger = logging.getLogger("absl")  # orbax writes to it
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        manager = ocp.CheckpointManager(folder, options=options)
        try:
            yield manager
        finally:
            manager.close()
    finally:
        logger.setLevel(level)
