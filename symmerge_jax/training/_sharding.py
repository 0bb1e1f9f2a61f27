"""One mesh with one axis: parameters replicated, batch sharded.

A single device is a mesh of size one and takes the same path as many.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Make the mesh with the one axis ``data``.

    Args:
      devices: JAX devices to use; all devices of the default backend when ``None``.

    Returns:
      A mesh of shape ``(len(devices),)``.

    Raises:
      ValueError: when ``devices`` is empty.
    """
    devices = jax.devices() if devices is None else list(devices)
    if not devices:
        raise ValueError("a mesh needs at least one device, got none")
    return Mesh(np.array(devices), (AXIS,))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that keeps a whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that splits the leading axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put a whole copy of every leaf of ``tree`` on each device of ``mesh``.

    Args:
      tree: arrays.
      mesh: the devices.

    Returns:
      The tree, replicated.
    """
    return jax.device_put(tree, replicated_sharding(mesh))


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Split the leading axis of every leaf over the devices of ``mesh``.

    Args:
      batch: tree of arrays ``[N, ...]`` with one common ``N``.
      mesh: the mesh of :func:`make_mesh`.

    Returns:
      The same tree, each leaf sharded over the axis ``data``.

    Raises:
      ValueError: when leaves disagree about ``N`` or the mesh does not divide it.
    """
    check_batch(batch, mesh.size)
    return jax.device_put(batch, batch_sharding(mesh))


def check_batch(batch: PyTree, num_devices: int, num_microbatches: int = 1) -> int:
    """Check that a batch splits evenly and return its size ``N``.

    Args:
      batch: tree of arrays ``[N, ...]``.
      num_devices: number of devices that share the batch.
      num_microbatches: number of equal parts of the share of one device.

    Returns:
      ``N``.

    Raises:
      ValueError: for an empty tree, a leaf without a leading axis, leaves that
        disagree about ``N``, or an ``N`` that does not split evenly.
    """
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    if not leaves:
        raise ValueError("the batch holds no arrays")
    first_path, first = leaves[0]
    for path, leaf in leaves:
        shape = np.shape(leaf)
        if not shape:
            raise ValueError(
                f"batch leaf {_name(path)} is a scalar; every leaf needs the batch "
                "axis first (close over constants in loss_fn instead)"
            )
        if shape[0] != np.shape(first)[0]:
            raise ValueError(
                f"batch leaf {_name(path)} has {shape[0]} rows but "
                f"{_name(first_path)} has {np.shape(first)[0]}"
            )
    size = np.shape(first)[0]
    if size == 0 or size % num_devices:
        raise ValueError(
            f"a batch of {size} cannot be split over {num_devices} device(s): "
            f"choose a batch size that is a multiple of {num_devices}"
        )
    if (size // num_devices) % num_microbatches:
        raise ValueError(
            f"num_microbatches={num_microbatches} does not divide the "
            f"{size // num_devices} examples that each of {num_devices} device(s) "
            f"gets from a batch of {size}: choose a batch size that is a multiple of "
            f"{num_devices * num_microbatches}, or another num_microbatches"
        )
    return size


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path) or "(the batch itself)"
