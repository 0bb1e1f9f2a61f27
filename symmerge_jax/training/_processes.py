"""Many processes as one: all compute on one mesh, the first reads and writes files.

After `jax.distributed.initialize()` every process runs the same program. What the first
one finds in files is sent to the others, so they need not share a folder with it.
"""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

T = TypeVar("T")

_LONGEST_WAIT = 7 * 24 * 3600  # seconds; a process that dies ends the wait


def is_first() -> bool:
    """Return whether this process is the one that reads and writes files."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run a block that fails in all processes if it fails in one.

    All leave the block at once. Nothing in it may compute on devices of others.

    Yields:
      Nothing.

    Raises:
      ValueError: the block failed in another process; names it.
    """
    if jax.process_count() == 1:
        yield
        return
    fails = True
    try:
        yield
        fails = False
    finally:  # also after an error, which goes on from here
        _wait()
        failed = multihost_utils.process_allgather(np.array(fails))
    if failed.any():
        raise ValueError(
            f"Process {int(np.argmax(failed))} of {jax.process_count()} failed, and"
            " ends this one: see its message."
        )


def on_first(function: Callable[[], T]) -> T | None:
    """Call a function in the first process, while the others wait for it.

    Returns:
      What it returns; None in the other processes.

    Raises:
      ValueError: in the other processes, if the function raises an error.
    """
    with together():
        return function() if is_first() else None


def from_first(tree: PyTree) -> PyTree:
    """Return the arrays of the first process in all of them.

    Args:
      tree: arrays of this process alone, of the same shapes in all of them.
    """
    if jax.process_count() == 1:
        return tree
    send = multihost_utils.broadcast_one_to_all
    return map_arrays(lambda x: send(np.asarray(x)), tree)


def value_from_first(value: Any) -> Any:
    """Return the JSON value of the first process in all of them."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(from_first(np.array(len(text))))
    return json.loads(bytes(from_first(np.resize(text, size))))


def over_processes(function: Callable[[PyTree], PyTree], rows: PyTree) -> PyTree:
    """Return `function(rows)`, of which each process computes an equal part.

    For alignments of many pairs, and for evaluations: all processes call it with the
    same rows, and get the same results.

    Args:
      function: from arrays `[n, ...]` to a tree of arrays `[n, ...]`, each row computed
        from the same row of the input, on devices of this process alone.
      rows: arrays `[N, ...]` of numpy, or of this process.

    Returns:
      Arrays `[N, ...]`; what comes from other processes is float32 unless JAX has
      float64 switched on.

    Raises:
      ValueError: the function failed in another process; names it.
    """
    if jax.process_count() == 1:
        return function(rows)
    num_rows = len(jax.tree.leaves(rows)[0])
    size = -(-num_rows // jax.process_count())
    start = size * jax.process_index()
    own = np.minimum(np.arange(start, start + size), num_rows - 1)
    with together():
        part = jax.tree.map(np.asarray, function(jax.tree.map(lambda x: x[own], rows)))
    whole = multihost_utils.process_allgather(part)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_rows], whole)


def is_shared(array: Any) -> bool:
    """Return whether other processes hold parts of an array, too."""
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def own_copy(tree: PyTree) -> PyTree:
    """Return the copy that this process has of arrays that all devices hold whole."""
    return map_arrays(lambda x: x.addressable_data(0) if is_shared(x) else x, tree)


def stop_signal(step: int) -> int:
    """Return SIGTERM once all processes have to stop after this step, else 0.

    JAX tells all of them if one got the signal, and finds a step none of them has
    passed.
    """
    if not jax.config.jax_enable_preemption_service:  # pyright: ignore
        return 0
    stop = multihost_utils.reached_preemption_sync_point(step)
    return int(signal.SIGTERM) if stop else 0


def map_arrays(function: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Return a tree with a function of arrays applied to all leaves, keys as data."""

    def apply(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return function(leaf)
        data = function(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))

    return jax.tree.map(apply, tree)


def _wait() -> None:
    """Wait for all processes, on the host: collectives of devices may time out."""
    import orbax.checkpoint as ocp

    global _num_waits
    _num_waits += 1
    ocp.multihost.sync_global_processes(
        f"symmerge_jax_{_num_waits}",
        timeout=_LONGEST_WAIT,
        processes=set(range(jax.process_count())),
    )


_num_waits = 0
