"""One mesh with one axis: parameters replicated, batch sharded.

A single device is a mesh of size one and takes the same path as many; the devices of
many processes of `jax.distributed` are one mesh, too.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from symmerge_jax.training import _processes

AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Return the mesh with the one axis `data`.

    Args:
      devices: JAX devices to use; all devices of the default backend if None, those
        of a process side by side.

    Returns:
      A mesh of shape `(len(devices),)`.

    Raises:
      ValueError: `devices` is empty.
    """
    if devices is None:
        devices = sorted(jax.devices(), key=lambda d: d.process_index)
    if not devices:
        raise ValueError("A mesh needs at least one device, got none.")
    return Mesh(np.array(list(devices)), (AXIS,))


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that keeps a whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that splits the leading axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Return the tree with a whole copy of every leaf on each device.

    Args:
      tree: arrays; every process of the mesh has the same.
      mesh: the devices.
    """
    sharding = replicated_sharding(mesh)
    return _processes.map_arrays(lambda x: jax.device_put(x, sharding), tree)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Return the tree with the leading axis of every leaf split over the devices.

    Args:
      batch: tree of arrays `[N, ...]` with one common `N`.
      mesh: the devices, see `make_mesh`.

    Raises:
      ValueError: leaves disagree about `N`, or the number of devices does not divide
        it.
    """
    check_batch(batch, mesh.size)
    return jax.device_put(batch, batch_sharding(mesh))


def own_rows(rows: np.ndarray) -> np.ndarray:
    """Return the part of the rows of a batch that this process feeds to its devices.

    Args:
      rows: `[N, ...]`, one for each example of the whole batch.
    """
    processes = [device.process_index for device in make_mesh().devices.flat]
    start = processes.index(jax.process_index())
    stop = start + processes.count(jax.process_index())
    size = len(rows)
    return rows[size * start // len(processes) : size * stop // len(processes)]


def join_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Return the whole batch, whose rows the processes of a mesh have between them.

    Args:
      batch: tree of arrays: the `own_rows` of this process.
      mesh: the devices of all processes.
    """
    if not mesh.is_multi_process:
        return batch
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def check_batch(batch: PyTree, num_devices: int, num_microbatches: int = 1) -> int:
    """Return the size `N` of a batch after checking that it splits evenly.

    Args:
      batch: tree of arrays `[N, ...]`.
      num_devices: number of devices that share the batch.
      num_microbatches: number of equal parts of the share of one device.

    Raises:
      ValueError: an empty tree, a leaf without a leading axis, leaves that disagree
        about `N`, or an `N` that does not split evenly.
    """
    leaves = {
        jax.tree_util.keystr(path) or "(the batch itself)": np.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
    }
    if not leaves:
        raise ValueError("The batch holds no arrays.")
    first, first_shape = next(iter(leaves.items()))
    for name, shape in leaves.items():
        if not shape:
            raise ValueError(
                f"Batch leaf {name} is a scalar; every leaf needs the batch axis first"
                " (close over constants in loss_fn instead)."
            )
        if shape[0] != first_shape[0]:
            raise ValueError(
                f"Batch leaf {name} has {shape[0]} rows but {first} has"
                f" {first_shape[0]}."
            )
    size = first_shape[0]
    if size == 0 or size % num_devices:
        raise ValueError(
            f"A batch of {size} does not split over {num_devices} device(s): choose a"
            f" batch size that is a multiple of {num_devices}."
        )
    if (size // num_devices) % num_microbatches:
        raise ValueError(
            f"num_microbatches={num_microbatches} does not divide the"
            f" {size // num_devices} examples that each of {num_devices} device(s) gets"
            f" from a batch of {size}: choose a batch size that is a multiple of"
            f" {num_devices * num_microbatches}, or another num_microbatches."
        )
    return size
