"""The values that every package of symmerge_jax exchanges."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array on a device, a traced array, or an array of numpy."""

Params = Any
"""Any pytree of arrays: the parameters of one network (or, with a leading axis on every
leaf, of a population of networks with one architecture). Nested dicts, lists, tuples,
`FrozenDict`, `nnx.State`, modules; verbs give back the tree that they were given."""

Path = tuple[str, ...]
"""Names of the keys, indices and fields that lead to one leaf of `Params`."""

Key = jax.Array
"""A typed JAX random key, as made by `jax.random.key`."""

_STATIC: Any = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Task:
    """What networks do: data, and the functions that read it.

    A pytree: the data are arrays, the functions are static under `jax.jit`.

    Attributes:
      data: inputs, or any tree of arrays with one leading axis `[S]` of samples; None
        for solvers that are free of data.
      loss_fn: `loss_fn(params, data) -> []`, the mean loss; for solvers that look at
        the loss of the merged network, and for `loss_barrier`.
      features_fn: `features_fn(params, data) -> {space: [S, n]}`, the values of the
        hidden spaces, for solvers that match activations. The verbs take `features` of
        the `networks.Network` where this is None and `data` are inputs of the network,
        or a mapping with such an entry "inputs".

    Example:
      >>> x, y = np.ones((4, 2)), np.zeros((4, 1))
      >>> task = Task(
      ...     data={"inputs": x, "targets": y},
      ...     loss_fn=lambda params, data: np.mean(
      ...         (data["inputs"] @ params["kernel"] - data["targets"]) ** 2
      ...     ),
      ... )
      >>> float(task.loss_fn({"kernel": np.full((2, 1), 0.5)}, task.data))
      1.0
    """

    data: Any = None
    loss_fn: Callable[[Params, Any], Any] | None = dataclasses.field(
        default=None, metadata=_STATIC
    )
    features_fn: Callable[[Params, Any], Mapping[str, Array]] | None = (
        dataclasses.field(default=None, metadata=_STATIC)
    )
